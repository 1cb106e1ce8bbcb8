"""The progress bar of `prequential`: shown to people, and silent elsewhere."""

from __future__ import annotations

import pytest
from river import dummy

import streams
from driftmoe.evaluation import prequential


def evaluated(progress):
    stream = streams.make("led", n_samples=300)
    *_, last = prequential(stream, dummy.NoChangeClassifier(), window=100, progress=progress)
    return last.n_samples, last.cumulative


def test_where_no_one_looks_there_is_no_bar_unless_it_is_asked_for(capsys):
    silent = evaluated(True)
    assert capsys.readouterr() == ("", "")
    assert evaluated(False) == silent
    assert evaluated("always") == silent
    out, err = capsys.readouterr()
    assert out == ""
    assert "300/300" in err


def test_other_values_are_refused():
    with pytest.raises(ValueError, match="progress='yes'; choose True, False or 'always'"):
        evaluated("yes")
