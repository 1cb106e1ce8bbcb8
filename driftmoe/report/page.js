"use strict";
// Sorts tables by a column, and copies commands. Rows of a table's foot stay where they are.
const said = document.getElementById("said");
const number = text => {
  const found = text.replace(/,/g, "").replace("\u2212", "-").match(/-?\d+(\.\d+)?(e[-+]?\d+)?/i);
  return found ? parseFloat(found[0]) : NaN;
};
for (const table of document.querySelectorAll("table")) {
  const heads = [...table.tHead.rows[0].cells];
  if (table.tBodies[0].rows.length < 2) continue;
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const rows = [...table.tBodies[0].rows];
      const texts = new Map(rows.map(row => [row, row.cells[column].textContent]));
      const numeric = column > 0 && rows.some(row => !isNaN(number(texts.get(row))));
      const now = head.getAttribute("aria-sort");
      const sign = (now ? now === "descending" : !numeric) ? 1 : -1;
      heads.forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      rows.sort((a, b) => {
        const [one, other] = [texts.get(a), texts.get(b)];
        if (!numeric) return sign * one.localeCompare(other, "en", { numeric: true });
        const [x, y] = [number(one), number(other)];
        if (isNaN(x) || isNaN(y)) return isNaN(x) - isNaN(y);  // cells without a number come last
        return sign * (x - y);
      });
      table.tBodies[0].append(...rows);
      said.textContent = `sorted by ${button.textContent}, ${head.getAttribute("aria-sort")}`;
    });
  });
}
for (const button of document.querySelectorAll(".command button")) {
  button.addEventListener("click", async () => {
    const code = button.parentElement.querySelector("code");
    let done = true;
    try {
      await navigator.clipboard.writeText(code.textContent);
    } catch {  // a page that was opened from a disk may not use the clipboard's own door
      const range = document.createRange();
      range.selectNodeContents(code);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      done = document.execCommand("copy");
    }
    said.textContent = button.textContent = done ? "Copied" : "Press Ctrl-C";
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
  button.hidden = false;
}
