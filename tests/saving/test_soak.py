"""A model that is saved and loaded on its way along a stream ends as one that is left alone."""

from __future__ import annotations

import json
from itertools import islice

import pytest

from benchmarks import soak as benchmark
from benchmarks.soak import SIZES, Rest, Soak, differences, growing, growth, read_lines, soak
from streams import make

RUN = Soak("led_a", "driftmoe", samples=20_000, every=5_000)
SHORT = Soak("led_a", "moe-data(n_experts=2)", samples=4_000, every=1_000)


def left_alone(run, folder):
    """The digests of a run without saving."""
    return [line["digest"] for line in soak(run._replace(is_saved=False), folder)]


def test_a_model_saved_and_loaded_every_5000_samples_ends_as_one_left_alone(tmp_path):
    digests, lines = left_alone(RUN, tmp_path), list(soak(RUN, tmp_path))
    assert [line["samples"] for line in lines] == [5_000, 10_000, 15_000, 20_000]
    assert [line["digest"] for line in lines] == digests
    assert len(set(digests)) == 4
    assert differences(RUN, tmp_path) == (4, 0)


@pytest.mark.parametrize(
    "tail",
    ["", '{"samples": 3000, "dig', '{"samples": 3000, "digest": "of a file that was never written"}\n'],
    ids=["after saving", "within a line", "before saving"],
)
def test_a_run_that_was_killed_goes_on_from_its_file(tmp_path, tail):
    first = list(islice(soak(SHORT, tmp_path), 2))
    file = SHORT.place(tmp_path) / "lines.jsonl"
    with file.open("a") as lines:
        lines.write(tail)
    rest = list(soak(SHORT, tmp_path))
    assert rest[:2] == first
    assert [(line["samples"], line["resumed"]) for line in rest[2:]] == [(3_000, 1), (4_000, 1)]
    assert rest == read_lines(file)
    assert [line["digest"] for line in rest] == left_alone(SHORT, tmp_path)


def test_a_run_that_is_done_is_only_read(tmp_path):
    lines = list(soak(SHORT, tmp_path))
    assert list(soak(SHORT, tmp_path)) == lines


def test_a_line_that_differs_from_the_twins_is_counted(tmp_path):
    left_alone(SHORT, tmp_path)
    list(soak(SHORT, tmp_path))
    file = SHORT.place(tmp_path) / "lines.jsonl"
    file.write_text(file.read_text().replace('"digest": "', '"digest": "0', 1))
    assert differences(SHORT, tmp_path) == (4, 1)


def test_the_rest_of_a_stream_is_what_comes_after():
    stream = make("rbf_f", seed=3, n_samples=900)
    whole = next(iter(stream.blocks(900)))
    rest = Rest(stream, 500, 0)
    for first, n in ((500, 130), (630, 270)):
        blocks = list(rest.more(n).blocks(100))
        assert [len(block.y) for block in blocks] == [100] * (n // 100) + [n % 100] * (n % 100 > 0)
        assert [x for block in blocks for x in block.X.tolist()] == whole.X[first : first + n].tolist()
        assert [y for block in blocks for y in block.y.tolist()] == whole.y[first : first + n].tolist()


def test_memory_is_flat_unless_the_last_quarter_takes_more():
    flat = [{"resident_bytes": n} for n in (10, 50, 100, 100, 99, 100, 98, 100)]
    assert growth(flat) == 0.0
    assert growth([*flat[:7], {"resident_bytes": 130}]) == pytest.approx(0.3)
    assert growth(flat[:3]) == 0.0


def lines_of(tmp_path, **grown):
    """Eight lines of a run in its folder, whose last quarter is larger in some sizes by a factor."""
    lines = list(soak(SHORT, tmp_path))
    lines = [lines[-1] | {"samples": 500 * i} | dict.fromkeys(SIZES.values(), 1_000) for i in range(1, 9)]
    for line in lines[-2:]:
        line |= {name: int(1_000 * factor) for name, factor in grown.items()}
    file = SHORT.place(tmp_path) / "lines.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return lines


@pytest.mark.parametrize(("label", "name"), SIZES.items())
def test_a_size_that_grows_by_more_than_5_percent_is_said_and_fails_the_run(
    tmp_path, monkeypatch, capsys, label, name
):
    arguments = [
        *["soak", "--stream", SHORT.stream, "--model", SHORT.model, "--samples", str(SHORT.samples)],
        *["--every", str(SHORT.every), "--folder", str(tmp_path), "--show"],
    ]
    monkeypatch.setattr("sys.argv", arguments)
    assert growing(lines_of(tmp_path, **{name: 1.04})) == []
    assert benchmark.main() == 0
    assert "more than the 5 %" not in capsys.readouterr().out
    assert growing(lines_of(tmp_path, **{name: 1.06})) == [label]
    assert benchmark.main() == 1
    (told,) = [line for line in capsys.readouterr().out.splitlines() if "more than the 5 %" in line]
    assert told.startswith(label)
    assert "+6.0 % from the third quarter to the last" in told
