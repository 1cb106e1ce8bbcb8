"""The page and the Markdown of a report."""

from __future__ import annotations

import html.parser
import re
import urllib.parse
import xml.etree.ElementTree

import pytest
from written_results import curve, result

from driftmoe import report
from driftmoe.report import style


def test_names_that_mean_something_in_markdown_or_as_files_are_kept_apart():
    figure = report.windows_figure(curve(result("a", "x", 1, 0.5)), title="a")
    pictures = [
        style.as_picture(f"curve_{name}", name, figure)
        for name in ("数据", "データ", "a-b", "a b", "x" * 300)
    ]
    assert len({picture.name for picture in pictures}) == 5
    assert all(len(picture.name) < 80 for picture in pictures)
    grid = report.Grid(["stream", "a*b"], [[("<script>alert(1)</script>", False), ("1.5*", True)]])
    section = report.Section("a < b", ["See `p_<*>.csv`: p > 0.05 *, [a](b) _c_ d_e", grid])
    text = report.markdown([section], title="<b>", pictures="")
    assert "# &lt;b&gt;" in text
    assert "See \\`p\\_&lt;\\*&gt;.csv\\`: p &gt; 0.05 \\*, \\[a\\](b) \\_c\\_ d_e" in text
    assert "| &lt;script&gt;alert(1)&lt;/script&gt; | **1.5\\*** |" in text
    assert "<td><b>1.5*</b></td>" in report.page([section], title="")


class Page(html.parser.HTMLParser):
    """Collects what the page refers to, and checks that tags close."""

    def __init__(self):
        super().__init__()
        self.sources, self.open, self.text, self.anchors = [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.sources += [value for name, value in attributes if name in ("src", "href")]
        self.anchors += [value for name, value in attributes if name == "id" and tag == "h2"]
        if tag not in ("meta", "img", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_needs_nothing_but_itself(written):
    page = Page()
    page.feed((written / "report.html").read_text(encoding="utf-8"))
    assert page.open == []
    pictures = [source for source in page.sources if not source.startswith("#")]
    anchors = {source[1:] for source in page.sources} - {picture[1:] for picture in pictures}
    assert anchors == set(page.anchors)  # every section is linked to
    assert len(pictures) == 3  # time, and the curves of two streams
    for source in pictures:
        head, data = source.split(",", 1)
        assert head == "data:image/svg+xml;charset=utf-8"
        xml.etree.ElementTree.fromstring(urllib.parse.unquote(data))
    assert "x < y & z" in page.text
    assert "75.00 ± 7.07" in page.text


def test_the_markdown_holds_the_same_tables_and_its_pictures_exist(written):
    text = (written / "report.md").read_text(encoding="utf-8")
    assert "| a, 1,000 | **75.00 ± 7.07** | 60.00 ± 0.00 | 51.00 ± 1.41 |" in text
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", text)
    assert len(pictures) == 3
    for picture in pictures:
        assert (written / picture).read_bytes().startswith(b"<?xml")


@pytest.mark.parametrize(
    "text", ["`a`` <script>b", "```<script>`", "`a\n\n<script>`", "`<script>`", "<script>"]
)
def test_no_backtick_lets_html_through_in_markdown(text):
    sections = [report.Section(text, [text])]
    assert "<script" not in report.markdown(sections, title=text, pictures="p")


def test_code_in_a_paragraph_stays_code_in_markdown():
    sections = [report.Section("a", ["see `driftmoe grid --out` & more"])]
    assert "see `driftmoe grid --out` &amp; more" in report.markdown(sections, title="t", pictures="p")
