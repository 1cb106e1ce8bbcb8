"""A file that grows is read to the last line whatever happens to it, and standard input too."""

from __future__ import annotations

import gzip
import os
import shutil
import stat
from pathlib import Path

import pytest
from reading import (
    PATIENCE,
    TEXTS,
    Reading,
    come_to,
    killed_and_started_again,
    reading,
    wait_for,
    working,
)

from driftmoe.service import files
from driftmoe.service.protocols import SourceError, Unreachable
from driftmoe.service.sources import LONGEST_PAUSE, FileSource, Pump, StandardInput, open_source


@pytest.fixture
def log(tmp_path):
    return tmp_path / "events.jsonl"


def add(path, texts):
    with path.open("ab") as file:
        file.write(b"".join(text + b"\n" for text in texts))


def lines_of(source, position=None, n=1000):
    """What a source has now, and the position after it."""
    source.open(position)
    found = []
    while messages := source.read(n, 0.0):
        found += messages
    source.close()
    return [line for _, line in found], found[-1][0] if found else position


def test_a_worker_that_reads_a_file_comes_to_what_one_comes_to_that_is_handed_its_lines(
    tmp_path, log, expected
):
    add(log, TEXTS)
    with Reading(tmp_path / "store", FileSource(log, follows=False)) as run:
        run.to_the_end()
    assert come_to(tmp_path / "store") == expected


def test_a_file_may_be_written_in_pieces_that_end_anywhere(tmp_path, log, expected):
    content = b"".join(text + b"\n" for text in TEXTS)
    with reading(tmp_path / "store", str(log)) as run, log.open("ab", buffering=0) as file:
        for start in range(0, len(content), 333):
            file.write(content[start : start + 333])
            run.until(content[: start + 333].count(b"\n"))
    assert come_to(tmp_path / "store") == expected


def test_after_each_start_a_file_is_read_on_where_the_last_commit_stands(tmp_path, log, expected):
    for start in range(0, len(TEXTS), 37):
        add(log, TEXTS[start : start + 37])
        with reading(tmp_path / "store", str(log)) as run:
            run.until(min(start + 37, len(TEXTS)))
    assert come_to(tmp_path / "store") == expected


@pytest.mark.skipif(os.name == "nt", reason="Windows has no signal that kills")
def test_a_process_that_is_killed_loses_and_repeats_no_line(tmp_path, log, expected):
    add(log, TEXTS)
    killed_and_started_again(tmp_path / "store", str(log), len(TEXTS))
    assert come_to(tmp_path / "store") == expected


def test_each_line_has_a_position_after_which_the_next_one_comes(log):
    add(log, [b"a", b"", b"bb\r", b"   ", "é".encode()])
    source = FileSource(log)
    source.open(None)
    messages = source.read(10, 0.0)
    source.close()
    assert [line for _, line in messages] == [b"a", b"bb", "é".encode()]
    for i, (position, _) in enumerate(messages):
        assert lines_of(FileSource(log), position)[0] == [line for _, line in messages[i + 1 :]]


def test_a_half_written_line_waits_for_its_end(log):
    log.write_bytes(b"one\ntw")
    source = FileSource(log)
    source.open(None)
    assert [line for _, line in source.read(9, 0.0)] == [b"one"]
    assert source.read(9, 0.0) == []
    add(log, [b"o"])
    assert [line for _, line in source.read(9, 0.0)] == [b"two"]
    source.close()


def test_the_last_line_needs_no_end_when_nothing_more_is_waited_for(log):
    log.write_bytes(b"one\ntwo")
    assert lines_of(FileSource(log, follows=False))[0] == [b"one", b"two"]


def test_a_file_may_come_later(tmp_path, log):
    with reading(tmp_path / "store", log.as_uri()) as run:
        add(log, TEXTS[:10])
        run.until(10)
    with pytest.raises(SourceError, match="there is no such file"):
        FileSource(tmp_path / "other", follows=False).open(None)


@pytest.mark.parametrize("n_files", [1, 2, 3])
@pytest.mark.parametrize("is_open", [True, False], ids=["open", "down"])
def test_files_that_were_rotated_are_read_in_order(log, n_files, is_open):
    add(log, [b"first", b"second"])
    source = FileSource(log)
    source.open(None)
    ((position, line),) = source.read(1, 0.0)
    assert line == b"first"
    if not is_open:
        source.close()
    expected = [b"second"]
    for i in range(n_files):
        for number in range(i, 0, -1):
            os.replace(f"{log}.{number}", f"{log}.{number + 1}")
        os.replace(log, f"{log}.1")
        add(log, [f"{i} a".encode(), f"{i} b".encode()])
        expected += [f"{i} a".encode(), f"{i} b".encode()]
    if not is_open:
        source.open(position)
    found = []
    while messages := source.read(1, 0.0):
        found += [line for _, line in messages]
    source.close()
    assert found == expected


def test_what_is_written_to_a_file_after_it_was_renamed_is_read_before_the_next_one(log):
    source = FileSource(log)
    with log.open("ab", buffering=0) as file:
        file.write(b"one\n")
        source.open(None)
        assert [line for _, line in source.read(9, 0.0)] == [b"one"]
        os.replace(log, f"{log}-20260531")
        log.touch()
        assert source.read(9, 0.0) == []
        file.write(b"two\nhalf")
        assert [line for _, line in source.read(9, 0.0)] == [b"two"]
    add(log, [b"three"])
    assert [line for _, line in source.read(9, 0.0)] == [b"half"]
    assert [line for _, line in source.read(9, 0.0)] == [b"three"]
    source.close()


def test_files_beside_a_log_that_are_no_part_of_its_rotation_are_not_read(log):
    add(log, [b"one"])
    source = FileSource(log)
    source.open(None)
    source.read(9, 0.0)
    for name in (".bak", ".1.gz", ".offsets", ".1.tmp"):
        add(log.with_name(log.name + name), [b"no event"])
    os.replace(log, f"{log}.1")
    add(log, [b"two"])
    assert [line for _, line in source.read(9, 0.0)] == [b"two"]
    source.close()


@pytest.mark.parametrize("is_open", [True, False], ids=["open", "down"])
def test_a_file_that_was_packed_before_it_was_read_is_told(log, is_open):
    add(log, [b"one"])
    source = FileSource(log)
    source.open(None)
    ((position, _),) = source.read(9, 0.0)
    os.replace(log, f"{log}.2")
    for name, text in ((f"{log}.3", b"old"), (f"{log}.1", b"two")):
        path = Path(name)
        add(path, [text])
        packed = path.with_name(f"{path.name}.gz")
        packed.write_bytes(gzip.compress(path.read_bytes()))
        about = path.stat()
        time = 0 if text == b"old" else about.st_mtime_ns + 1_000_000
        os.utime(packed, ns=(time, time))
        path.unlink()
    add(log, [b"three"])
    if not is_open:
        source.close()
        source.open(position)
    with pytest.raises(SourceError, match=r"1\.gz was packed before it was read; unpack it"):
        source.read(9, 0.0)
    packed = log.with_name(f"{log.name}.1.gz")
    unpacked = packed.with_suffix("")
    unpacked.write_bytes(gzip.decompress(packed.read_bytes()))
    os.utime(unpacked, ns=(packed.stat().st_mtime_ns,) * 2)
    packed.unlink()
    source.close()
    assert lines_of(source, position)[0] == [b"two", b"three"]


@pytest.mark.parametrize("is_open", [True, False], ids=["open", "down"])
def test_a_file_that_was_copied_and_emptied_is_read_on_in_its_copy(log, is_open):
    add(log, [b"one", b"two"])
    source = FileSource(log)
    source.open(None)
    ((position, _),) = source.read(1, 0.0)
    if not is_open:
        source.close()
    add(log, [b"three", b"four"])
    shutil.copy(log, f"{log}.1")
    os.truncate(log, 0)
    add(log, [b"five"])
    if not is_open:
        source.open(position)
    found = []
    while messages := source.read(1, 0.0):
        found += [line for _, line in messages]
    source.close()
    assert found == [b"two", b"three", b"four", b"five"]


def test_a_file_that_was_cut_short_is_read_from_its_start(log, caplog):
    add(log, [b"one", b"two"])
    source = FileSource(log)
    source.open(None)
    source.read(9, 0.0)
    log.write_bytes(b"three\n")
    assert [line for _, line in source.read(9, 0.0)] == [b"three"]
    source.close()
    assert "was cut short at byte 8; it is read from its start" in caplog.text


def test_a_file_that_was_written_anew_and_longer_is_read_from_its_start(log):
    add(log, [b"one", b"two"])
    source = FileSource(log)
    source.open(None)
    source.read(9, 0.0)
    log.write_bytes(b"three\nfour\nfive\n")
    assert [line for _, line in source.read(9, 0.0)] == [b"three", b"four", b"five"]
    source.close()


@pytest.mark.parametrize("what", ["removed", "cut", "another"])
def test_a_file_that_has_gone_while_the_worker_was_down_is_told(tmp_path, log, what):
    add(log, TEXTS[:10])
    with reading(tmp_path / "store", str(log)) as run:
        run.until(10)
    if what == "removed":
        log.unlink()
    elif what == "cut":
        os.truncate(log, len(TEXTS[0]) + 1)
    else:
        log.write_bytes(b"".join(text + b"\n" for text in TEXTS[50:]))
    with (
        pytest.raises(SourceError, match="is gone, and with it what came after; put it back"),
        reading(tmp_path / "store", str(log)),
    ):
        pass


def test_lines_that_are_no_events_are_put_aside_and_the_next_ones_read(tmp_path, log, monkeypatch):
    monkeypatch.setattr(files, "LONGEST_LINE", 2_000_000)
    monkeypatch.setattr(files, "BLOCK", 300_000)
    add(log, [TEXTS[0], b"\xff\xfe", b"{", b"7" * 5_000_000, b"[]", TEXTS[1]])
    with Reading(tmp_path / "store", FileSource(log, follows=False)) as run:
        run.to_the_end()
    found = come_to(tmp_path / "store")
    assert found["counts"] == {"events": 6, "predicted": 2, "refused": 4}
    assert [reason.split(";")[0] for _, _, reason in found["dead"]][::2] == [
        "the event is not UTF-8 text", "the event has 2,000,000 bytes",
    ]  # fmt: skip


@pytest.mark.parametrize("excess", [-1, 0, 1, 7, 100])
def test_the_line_after_one_that_is_too_long_is_found(log, monkeypatch, excess):
    monkeypatch.setattr(files, "LONGEST_LINE", 20)
    monkeypatch.setattr(files, "BLOCK", 8)
    add(log, [b"a" * (20 + excess), b"next", b"b" * 30, b"last"])
    lines, position = lines_of(FileSource(log))
    assert lines == [b"a" * min(20 + excess, 20), b"next", b"b" * 20, b"last"]
    assert position[0] == log.stat().st_size


def test_a_folder_is_no_source(tmp_path):
    with pytest.raises(SourceError, match="is a folder; give the file in it"):
        FileSource(tmp_path).open(None)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes")
def test_a_pipe_is_no_source(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SourceError, match="is no file; give - and send it to standard input"):
        FileSource(tmp_path / "pipe").open(None)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_no_source(log):
    add(log, [b"one"])
    log.chmod(stat.S_IWUSR)
    with pytest.raises(SourceError, match="allow this user to read it"):
        FileSource(log).open(None)


def test_an_address_is_checked():
    assert open_source("file:///tmp/a%20b").name == "file:/tmp/a b"
    assert open_source("file://localhost/tmp/a").name == "file:/tmp/a"
    with pytest.raises(ValueError, match="names a machine"):
        open_source("file://data/events")
    with pytest.raises(ValueError, match="ftp:// is not known") as told:
        open_source("ftp://me:secret@host/events")
    assert "secret" not in str(told.value)


@pytest.fixture
def pipe():
    end, start = os.pipe()
    with os.fdopen(end, "rb") as source, os.fdopen(start, "wb", buffering=0) as writer:
        yield source, writer


def test_standard_input_is_read_as_it_comes_and_to_its_end(tmp_path, pipe, expected):
    source, writer = pipe
    content = b"".join(text + b"\n" for text in TEXTS)[:-1]  # the last line has no end
    with Reading(tmp_path / "store", StandardInput(source)) as run:
        for start in range(0, len(content), 333):
            writer.write(content[start : start + 333])
            run.until(content[: start + 333].count(b"\n"))
        writer.close()
        run.to_the_end()
    assert come_to(tmp_path / "store") == expected


def test_lines_of_standard_input_are_counted_over_all_starts(pipe):
    source, writer = pipe
    writer.write(b"one\n\ntwo\n")
    standard_input = StandardInput(source)
    standard_input.open(5)
    assert standard_input.read(1, PATIENCE) == [(6, b"one")]
    assert standard_input.read(9, PATIENCE) == [(7, b"two")]
    assert standard_input.read(9, 0.0) == []
    writer.close()
    assert standard_input.read(9, PATIENCE) is None


class Flaky:
    """Numbers as events, from a server that goes away."""

    name = "flaky"

    def __init__(self, texts, fails_at, fails_in):
        self._texts, self._fails_at, self._fails_in = texts, list(fails_at), fails_in
        self.opened, self._i = [], 0

    def open(self, position):
        self.opened.append(position)
        self._i = position or 0
        if self._fails_in == "open" and self._fails_at and len(self.opened) <= 2:
            raise Unreachable("flaky: refused")

    def read(self, n, seconds):
        if self._fails_at and self._i >= self._fails_at[0]:
            self._fails_at.pop(0)
            self._i += n  # what was asked for was lost on the way
            raise Unreachable("flaky: reset")
        if self._i >= len(self._texts):
            return None
        found = list(enumerate(self._texts, start=1))[self._i : self._i + n]
        self._i += len(found)
        return found

    def close(self):
        pass


@pytest.mark.parametrize("fails_in", ["open", "read"])
def test_a_source_that_goes_away_is_opened_again_after_the_last_message(tmp_path, expected, fails_in, caplog):
    source = Flaky(TEXTS, [0, 50, 50, 120], fails_in)
    with Reading(tmp_path / "store", source) as run:
        run.to_the_end()
    assert come_to(tmp_path / "store") == expected
    assert None in source.opened
    told = [record.getMessage() for record in caplog.records if "flaky" in record.getMessage()]
    assert len([text for text in told if "tried again" in text]) == 3  # once for each time that it was away
    assert told[-1] == "flaky is read again"


def test_a_pump_waits_ever_longer_for_a_source_and_ends_at_once(tmp_path):
    class Away(Flaky):
        def open(self, position):
            self.opened.append(position)
            raise Unreachable("flaky: refused")

    source = Away([], [], "open")
    with working(tmp_path) as worker:
        pump = Pump(source, worker, pytest.fail)
        pump.start()
        wait_for(lambda: len(source.opened) >= 4)
        pump.stop()
        assert not pump._thread.is_alive()
        n_waits = len(source.opened) - 1  # the first attempt is that of `start`
        assert n_waits >= 3
        assert pump._pause == pytest.approx(min(0.1 * 2**n_waits, LONGEST_PAUSE))
