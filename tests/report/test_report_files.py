"""Files of a report and pictures: whole or not at all, on disks that are full or cannot be written."""

from __future__ import annotations

import errno
import os
import re

import commands
import pytest
from failing_calls import fail_at
from written_results import RESULTS, curve

from driftmoe import report
from driftmoe.experiment import read_results

LIMITED = """
import resource, sys
from driftmoe.cli import main
size = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
main()
"""


def limited(folder, size, *arguments):
    """Run a command whose files cannot grow beyond `size` bytes."""
    pytest.importorskip("resource")
    return commands.python("-c", LIMITED, str(size), *map(str, arguments), cwd=folder)


REPORT_LOST = "the report is lost; results, and a report from before, are as they were"
PICTURE_LOST = "the picture is lost; results, and a picture from before, are as they were"
TOO_LARGE = os.strerror(errno.EFBIG)


def contents(folder):
    return {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_report_that_the_disk_cannot_hold_ends_with_one_line_and_leaves_the_old_one(written, tmp_path):
    out = tmp_path / "out"
    report.write([], out, title="old")
    before = contents(out)
    for size, name in ((2_000, r"report_files/\w+\.svg"), (40_000, r"report\.html")):
        done = limited(tmp_path, size, "report", written, "--out", "out", "--force")
        assert done.returncode == 2
        assert re.fullmatch(
            rf"driftmoe: out/{name}: {re.escape(f'{TOO_LARGE}; {REPORT_LOST}')}\n", done.stderr
        )
        assert contents(out) == before


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES])
def test_whatever_fails_at_whichever_step_every_file_of_a_report_is_whole(
    written, tmp_path, monkeypatch, number
):
    """Each system call in turn fails, until none is left to fail."""
    parts = report.sections(*read_results(written))[-3:]  # with two pictures and some tables
    report.write(parts, tmp_path / "new", title="t")
    new = contents(tmp_path / "new")
    n_failures = 0
    for k in range(200):
        out, told = tmp_path / str(k), None
        report.write([], out, title="old")
        old = contents(out)

        with monkeypatch.context() as patch:
            calls = fail_at(patch, ("mkdir", "fsync", "replace"), k, number)
            try:
                report.write(parts, out, title="t")
            except OSError as error:
                told = error
        found = {path: data for path, data in contents(out).items() if data != new.get(path)}
        assert found.items() <= old.items()
        if len(calls) <= k:
            break
        if told is None:  # the folder was there: that it could not be made is no fault
            assert contents(out) == new
            continue
        n_failures += 1
        assert told.errno == number
        assert REPORT_LOST in str(told)
        assert str(told.filename).startswith(str(out / "report"))
    assert n_failures >= 2 * len(new)
    assert contents(out) == new


def test_a_picture_that_the_disk_cannot_hold_leaves_the_results_and_the_old_picture(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sea_a.png").write_text("old")
    done = limited(tmp_path, 20_000, "evaluate", "sea_a", "-m", "nochange", "--limit", "500", "--out", "out")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"driftmoe: out/sea_a.png: {TOO_LARGE}; {PICTURE_LOST}"
    assert "Traceback" not in done.stderr
    assert [line["model"] for line in read_results(tmp_path / "out")[0]] == ["nochange"]
    assert (tmp_path / "out" / "sea_a.png").read_text() == "old"
    assert not list((tmp_path / "out").glob(".driftmoe-part-*"))


def test_a_picture_of_a_stream_that_cannot_be_written_is_told_of_with_the_file(tmp_path):
    (tmp_path / "sea.png").write_text("old")
    done = limited(
        tmp_path, 20_000, "streams", "plot", "sea_a", "--limit", "500", "--out", "sea.png", "--force"
    )
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == f"driftmoe: sea.png: {TOO_LARGE}; {PICTURE_LOST}"
    assert os.listdir(tmp_path) == ["sea.png"]
    assert (tmp_path / "sea.png").read_text() == "old"


@pytest.mark.parametrize(("name", "start"), [("a.PDF", b"%PDF"), ("a.svg", b"<?xml"), ("a", b"\x89PNG")])
def test_a_picture_has_the_format_that_its_name_says(tmp_path, name, start):
    figure = report.windows_figure(curve(RESULTS[0]), title="t")
    report.save_figure(figure, tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(start)
    with pytest.raises(ValueError, match="Format 'xls' is not supported"):
        report.save_figure(figure, tmp_path / "a.xls")
    assert os.listdir(tmp_path) == [name]
