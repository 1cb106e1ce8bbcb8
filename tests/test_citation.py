"""The citation agrees with the metadata of the package."""

from __future__ import annotations

import re
import tomllib

from places import ROOT

import driftmoe

CITATION = (ROOT / "CITATION.cff").read_text()


def test_the_citation_says_what_the_package_says():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    said = dict(re.findall(r"^([a-z-]+): (.+)$", CITATION, re.MULTILINE))
    assert said["title"].lower() == project["name"]
    assert said["version"] == project["version"] == driftmoe.__version__
    assert said["license"] == project["license"]
    assert f"  {project['description']}\n" in CITATION
    of_software = CITATION[: CITATION.index("references:")]
    assert re.findall(r"^  - name: (.+)$", of_software, re.MULTILINE) == [
        author["name"] for author in project["authors"]
    ]
    assert re.findall(r"^  - ([a-z ]+)$", of_software, re.MULTILINE) == project["keywords"]


def test_the_paper_is_cited_where_the_readme_links_to():
    (url,) = re.findall(r"^    url: (.+)$", CITATION, re.MULTILINE)
    assert f"({url})" in (ROOT / "README.md").read_text()
