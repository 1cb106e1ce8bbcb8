"""`driftmoe streams`: what the commands print, write and refuse."""

from __future__ import annotations

import matplotlib.image
import numpy as np
import pytest
from typer.testing import CliRunner

import streams
from driftmoe.cli.streams import app
from driftmoe.report import stream_plot
from streams.files import open_file


def invoke(*arguments):
    return CliRunner(env={"COLUMNS": "160", "NO_COLOR": "1"}).invoke(app, [str(a) for a in arguments])


@pytest.fixture
def flowers(tmp_path):
    path = tmp_path / "flowers.csv"
    rows = [f"{i / 10},{'red' if i % 3 else 'white'},{'ab'[i % 2]},{i % 2}" for i in range(400)]
    path.write_text("\n".join(["width,colour,species,id", *rows]) + "\n")
    return path


def test_list_names_every_stream_without_fetching_any(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("list must not look for files")

    monkeypatch.setattr("streams.real.fetch", refuse)
    result = invoke("list")
    assert result.exit_code == 0
    for name in streams.names():
        assert name in result.stdout
    lines = result.stdout.splitlines()
    assert lines[lines.index("led_g") + 1] == (
        "  1,000,000 samples, 24 features, 10 classes, 3 drifts of width 50,000. Changing"
    )
    assert max(map(len, lines)) <= 80
    assert [line for line in invoke("list", "wave").stdout.splitlines() if line[0] != " "] == [
        "waveform", "waveform_drift",
    ]  # fmt: skip
    refused = invoke("list", "nosuch")
    assert (refused.exit_code, refused.stdout) == (2, "")


def test_show_tells_schema_drifts_first_samples_and_hash():
    result = invoke("show", "sea_g", "--limit", 10_000, "--seed", 7, "--rows", 2)
    stream = streams.make("sea_g", seed=7, n_samples=10_000)
    assert result.exit_code == 0
    assert "10,000 samples, 3 features, 2 classes" in result.stdout
    for drift in stream.drifts:
        assert f"{drift.position:,} (width {drift.width:,})" in result.stdout
    x, _ = next(iter(stream))
    for feature in stream.features:
        assert feature.name in result.stdout
        assert f"{x[feature.name]:g}" in result.stdout
    assert stream.fingerprint() in result.stdout


def test_show_says_how_far_labels_tell_labels_and_warns_where_they_come_in_an_order(tmp_path):
    path = tmp_path / "turns.csv"
    path.write_text("x,label\n" + "".join(f"{i % 7},{'abcd'[i % 4]}\n" for i in range(401)))
    told = " ".join(invoke("show", path, "--rows", 0).stdout.split())
    # 397 of 400 are right: wrong where "b", "c" and "d" come for the first time.
    assert "Labels alone, right in the first 401: majority 25.00 %" in told
    assert "no change 0.00 %, markov (what most often follows the last label) 99.25 %" in told
    assert "Warning: the labels come in an order" in told
    drawn = " ".join(invoke("show", "sea_a", "--limit", 1000, "--rows", 0).stdout.split())
    assert "Labels alone, right in the first 1,000: majority" in drawn
    assert "Warning" not in drawn


def test_show_tells_of_a_file_whose_later_rows_are_damaged(tmp_path):
    path = tmp_path / "damaged.csv"
    path.write_text("x,label\n" + "1,a\n" * 3000 + "1,a,b\n")
    told = " ".join(invoke("show", path).stdout.split())
    assert "1 features, 1 classes" in told
    assert "Labels alone: not known, since not all of the first 50,000 rows can be read" in told


def test_show_reads_a_file_and_its_target(flowers):
    result = invoke("show", flowers, "--target", "species")
    assert result.exit_code == 0
    assert "3 features, 2 classes" in result.stdout
    assert "Classes: a, b" in result.stdout
    assert "white, red" in result.stdout
    assert invoke("show", flowers, "--target", "2").stdout == result.stdout
    assert open_file(flowers, "species").fingerprint() in result.stdout


def test_show_keeps_names_that_look_like_markup(tmp_path):
    path = tmp_path / "odd.csv"
    path.write_text("[red]a[/red],[/],y\n1,[bold]x,0\n")
    result = invoke("show", path)
    assert result.exit_code == 0
    assert "[red]a[/red]" in result.stdout
    assert "[bold]x" in result.stdout


@pytest.mark.parametrize("name", ["out.csv", "out.arff", "out.parquet"])
def test_export_writes_what_the_stream_holds(tmp_path, name):
    result = invoke("export", "sea_g", tmp_path / name, "--limit", 3000, "--seed", 7)
    assert result.exit_code == 0
    assert "3,000 samples" in result.stdout
    assert "samples/s" in result.stdout
    assert list(open_file(tmp_path / name)) == list(streams.make("sea_g", seed=7, n_samples=3000))


def test_export_converts_a_file_and_reports_what_it_left_out(flowers, tmp_path):
    with flowers.open("a") as file:
        file.write("oops\n")
    out = tmp_path / "flowers.arff"
    result = invoke("export", flowers, out, "--target", "species")
    assert result.exit_code == 2
    assert "flowers.csv, line 402: 1 fields, but there are 4 columns" in result.stderr
    assert not out.exists()
    result = invoke("export", flowers, out, "--target", "species", "--on-bad-row", "skip")
    assert result.exit_code == 0
    assert "left out 1 malformed rows; the first:" in result.stderr
    assert "line 402" in result.stderr
    assert list(open_file(out)) == list(open_file(flowers, "species", on_bad_row="skip"))


def test_fetch_passes_its_arguments_on_and_prints_the_path(monkeypatch, tmp_path):
    seen = {}

    def fetch(name, *, data_dir=None, from_file=None, progress=None):
        seen.update(name=name, data_dir=data_dir, from_file=from_file)
        progress(0, 100, "somewhere")
        progress(100, 100, "somewhere")
        return tmp_path / "airlines.arff"

    monkeypatch.setattr(streams, "fetch", fetch)
    result = invoke("fetch", "airlines", "--from-file", tmp_path / "a.zip", "--data-dir", tmp_path)
    assert result.exit_code == 0
    assert result.stdout.strip() == str(tmp_path / "airlines.arff")
    assert seen == {"name": "airlines", "data_dir": tmp_path, "from_file": tmp_path / "a.zip"}


def test_plot_draws_a_picture(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = invoke("plot", "sea_g", "--limit", 4000)
    assert result.exit_code == 0
    assert result.stdout.strip() == "sea_g.png"
    assert matplotlib.image.imread("sea_g.png").shape[:2] == (900, 1320)


def test_plot_draws_a_file_with_nominal_features_and_missing_values(flowers, tmp_path):
    with flowers.open("a") as file:
        file.write("?,?,a,?\n" * 50)
    result = invoke("plot", flowers, "--target", "species", "--window", 50, "--out", tmp_path / "p.png")
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "p.png").stat().st_size > 10_000


def test_plot_measures_shares_and_means_in_each_window(flowers):
    stream = open_file(flowers, "species")
    positions, proportions, lines = stream_plot.window_means(stream, 100, lambda n: None)
    assert positions.tolist() == [50.0, 150.0, 250.0, 350.0]
    np.testing.assert_allclose(proportions, 0.5)
    assert list(lines) == ["width", "colour = red", "id"]
    width = np.arange(400) / 10
    expected = (width.reshape(4, 100).mean(axis=1) - width.mean()) / width.std()
    np.testing.assert_allclose(lines["width"], expected)
    np.testing.assert_allclose(lines["id"], 0.0, atol=1e-12)
    red = np.array([i % 3 > 0 for i in range(400)], dtype=float)
    np.testing.assert_allclose(
        lines["colour = red"], (red.reshape(4, 100).mean(axis=1) - red.mean()) / red.std()
    )


@pytest.mark.parametrize("seed", [1, 2])
def test_plot_shows_the_lines_that_vary_most(tmp_path, seed):
    """Of 20 features, those whose mean moves."""
    rng = np.random.default_rng(seed)
    numbers = rng.normal(size=(1000, 20))
    moving = rng.permutation(20)[: stream_plot.N_LINES]
    numbers[500:, moving] += 3.0
    path = tmp_path / "wide.csv"
    rows = [",".join(map(repr, [*row, i % 2])) for i, row in enumerate(numbers.tolist())]
    path.write_text("\n".join([",".join([*(f"f{j}" for j in range(20)), "y"]), *rows]) + "\n")
    _, _, lines = stream_plot.window_means(open_file(path), 100, lambda n: None)
    assert set(lines) == {f"f{j}" for j in moving}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("show", "nosuch"), "unknown stream 'nosuch'"),
        (("show", "nosuch.csv"), "nosuch.csv"),
        (("show", "sea_g", "--target", "y"), "--target y is for files, and sea_g is not a file"),
        (("plot", "nosuch"), "unknown stream 'nosuch'"),
        (("export", "nosuch", "out.csv"), "unknown stream 'nosuch'"),
        (("export", "sea_g", "out.xls", "--limit", 100), "out.xls: cannot be written"),
        (("fetch", "nosuch"), "unknown real stream 'nosuch'"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = invoke(*arguments)
    assert result.exit_code == 2
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("driftmoe: ")
    assert message in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("bad.csv.gz", b"no gzip"),
        ("bad.csv.zip", b"no zip"),
        ("bad.parquet", b"no parquet"),
        ("cut.csv.gz", None),
    ],
)
def test_an_unreadable_file_is_one_line_and_exit_code_2(tmp_path, name, content):
    import gzip

    path = tmp_path / name
    path.write_bytes(gzip.compress(b"a,y\n" + b"1,0\n" * 1000)[:-20] if content is None else content)
    result = invoke("show", path)
    assert result.exit_code == 2
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("driftmoe: ")


def test_a_file_is_read_as_its_options_say(tmp_path):
    path = tmp_path / "plain.csv"
    path.write_text("7;1;red;a\n8;2;white;b\n")
    options = ("--delimiter", ";", "--no-header", "--drop", "x0", "--nominal", "x1", "--nominal", "x2")
    assert invoke("export", path, tmp_path / "t.arff", *options).exit_code == 0
    assert list(open_file(tmp_path / "t.arff")) == [
        ({"x1": 1, "x2": "red"}, "a"),
        ({"x1": 2, "x2": "white"}, "b"),
    ]
    assert "2 features, 2 classes" in invoke("show", path, *options).stdout


@pytest.mark.parametrize(
    ("text", "options", "hint"),
    [
        (
            "a;y\n1;2\n",
            (),
            "the only column is 'a;y'; is another character between the fields? pass --delimiter ';'",
        ),
        ("a,y\n1,2\n" + "3,1\n" * 300_000 + "oops,2\n", (), "--nominal 'a'"),
        ("a,y\n1,2\n3\n", (), "--on-bad-row skip"),
        ("a,a,y\n1,2,3\n", (), "--no-header"),
        ("a,y\n1,2\n", ("--delimiter", ";;"), "choose one ASCII character"),
    ],
)
def test_errors_about_a_file_name_the_flags(tmp_path, text, options, hint):
    path = tmp_path / "t.csv"
    path.write_text(text)
    result = invoke("export", path, tmp_path / "out.csv", *options)
    assert result.exit_code == 2
    assert hint in result.stderr


@pytest.mark.parametrize(
    "option", [("--drop", "a"), ("--nominal", "a"), ("--delimiter", ";"), ("--no-header",), ("--header",)]
)
def test_options_of_files_are_refused_for_streams_by_name(option):
    result = invoke("show", "sea_g", *option)
    assert result.exit_code == 2
    name = "--header or --no-header" if "header" in option[0] else option[0]
    assert f"leave {name} out" in result.stderr


def test_a_first_line_that_is_read_as_a_row_can_be_named_the_header(tmp_path):
    path = tmp_path / "years.csv"
    path.write_text("2019,2020,2021\n1.5,2.5,3\n")
    assert "is read as a row; if names: --header" in invoke("show", path).stderr
    result = invoke("show", path, "--header")
    assert "read as a row" not in result.stderr
    assert "2019" in result.stdout


@pytest.mark.parametrize("command", ["show", "export", "fetch", "plot"])
def test_help_gives_examples(command):
    result = invoke(command, "--help")
    assert result.exit_code == 0
    assert f"driftmoe streams {command}" in result.stdout
