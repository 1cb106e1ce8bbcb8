"""A folder of results with its report."""

from __future__ import annotations

import pytest
from written_results import CURVES, RESULTS, curve

from driftmoe import report
from driftmoe.experiment import ResultFolder, read_results


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    for stream in "ab":
        kept = ResultFolder(folder / stream)
        for line in RESULTS:
            if line["stream"] == stream:
                kept.add(line, curve(line))
    results, curves = read_results(folder)
    assert len(results) == len(RESULTS)
    assert len(curves) == len(CURVES)
    report.write(report.sections(results, curves), folder, title="x < y & z")
    return folder
