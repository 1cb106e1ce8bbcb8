/* What the theme leaves out for keyboards and screen readers: a name of the search, and the focus for what is wider than
   the page, so that it can be scrolled. */
function focusable() {
  for (const box of document.querySelectorAll(".md-typeset__scrollwrap, .md-typeset div.formula"))
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
}
addEventListener("load", focusable);
addEventListener("resize", focusable);
document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
