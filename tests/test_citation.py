"""CITATION.cff says of the software what pyproject.toml says, and is in the source distribution."""

from __future__ import annotations

import re
import tomllib

import pytest
from places import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
CITATION = (ROOT / "CITATION.cff").read_text(encoding="utf-8")


@pytest.mark.parametrize("field", ["version", "license"])
def test_version_and_licence_are_those_of_the_project(field):
    assert re.findall(rf"^{field}: (.*)$", CITATION, re.MULTILINE) == [PROJECT[field]]


def test_authors_keywords_and_abstract_are_those_of_the_project():
    software, _, _ = CITATION.partition("references:")
    assert re.findall(r"^  - name: (.*)$", software, re.MULTILINE) == [a["name"] for a in PROJECT["authors"]]
    assert f"keywords: [{', '.join(PROJECT['keywords'])}]" in software
    assert PROJECT["description"] in software


def test_the_paper_is_a_reference():
    _, _, references = CITATION.partition("references:")
    assert "value: arXiv:2507.18464" in references


def test_the_source_distribution_holds_it():
    assert "CITATION.cff" in PYPROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
