"""Files of a user's own on the command line."""

from __future__ import annotations

import json

import commands

from driftmoe.experiment import read_results
from streams import files


def test_a_grid_reads_files_as_told_and_streams_by_their_names(tmp_path):
    rows = "".join(f"{i % 7};{i};{'ab'[i % 2]}\n" for i in range(40))
    (tmp_path / "few.csv").write_text("x;id;kind\n" + rows + "1;2;\n")
    arguments = [
        "-m",
        "nochange",
        "--limit",
        "30",
        "--executor",
        "serial",
        "--target",
        "kind",
        "--drop",
        "id",
    ]
    arguments += ["--delimiter", ";", "--nominal", "x", "--on-bad-row", "skip"]
    done = commands.driftmoe("grid", "few.csv", "sea_a", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    results, _ = read_results(tmp_path / "runs" / "grid")
    assert sorted((line["stream"], line["n_samples"]) for line in results) == [("few.csv", 30), ("sea_a", 30)]
    of_file = next(line for line in results if line["stream"] == "few.csv")
    alike = files.open_file(
        tmp_path / "few.csv",
        "kind",
        n_samples=30,
        drop=["id"],
        delimiter=";",
        nominal=["x"],
        on_bad_row="skip",
    )
    assert of_file["stream_sha256"] == alike.fingerprint()
    refused = commands.driftmoe("grid", "sea_a", *arguments, cwd=tmp_path)
    assert refused.returncode == 2
    assert "sea_a is not a file" in " ".join(refused.stderr.split())


def test_a_file_is_a_stream_too(tmp_path):
    rows = [f"{i % 7},{'red' if i % 3 else 'blue'},{'yes' if i % 3 else 'no'}" for i in range(400)]
    rows[100] = "1,red"
    (tmp_path / "own.csv").write_text("size,colour,bought\n" + "\n".join(rows) + "\n")
    arguments = ["evaluate", "own.csv", "--model", "ht", "--window", "100"]
    done = commands.driftmoe(*arguments, "--target", "bought", cwd=tmp_path)
    assert done.returncode == 2
    assert "own.csv" in done.stderr
    assert "line 102" in done.stderr
    done = commands.driftmoe(*arguments, "--on-bad-row", "skip", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "left out 1 malformed rows" in done.stderr
    (line,) = [json.loads(t) for t in (tmp_path / "runs" / "own" / "results.jsonl").read_text().splitlines()]
    assert (line["stream"], line["n_samples"]) == ("own.csv", 399)
    assert line["accuracy"] > 0.7
    assert line["reading"] == {"target": "bought", "on_bad_row": "skip", "rows_left_out": 1}
    assert (tmp_path / "runs" / "own" / "own.png").exists()
    assert "driftmoe: own.csv, class: last column, `bought`\n" in done.stderr, "nobody named it"
    assert "own.csv, class `bought`, 1 bad rows left out, 399 samples" in " ".join(done.stdout.split())


def test_two_targets_of_a_file_are_two_streams(tmp_path):
    rows = [f"{i % 5},{i % 2},{i % 3}" for i in range(60)]
    (tmp_path / "t.csv").write_text("x,y,z\n" + "\n".join(rows) + "\n")
    for target in ("y", "z"):
        arguments = ["evaluate", "t.csv", "--target", target, "--nominal", target, "--model", "nochange"]
        assert commands.driftmoe(*arguments, "--out", "tt", cwd=tmp_path).returncode == 0
    lines = [json.loads(text) for text in (tmp_path / "tt" / "results.jsonl").read_text().splitlines()]
    assert len({line["stream_sha256"] for line in lines}) == 2
    assert [line["reading"] for line in lines] == [{"target": t, "nominal": [t]} for t in ("y", "z")]
    pictures = {"t_class_y_as_names_y.png", "t_class_z_as_names_z.png"}
    assert {path.name for path in (tmp_path / "tt").glob("*.png")} == pictures
    dropped = ["evaluate", "t.csv", "--drop", "x", "--model", "nochange", "--out", "tt"]
    done = commands.driftmoe(*dropped, cwd=tmp_path)
    assert "t.csv, class `z`, without `x`, 60 samples" in done.stdout
    assert commands.driftmoe("report", "tt", cwd=tmp_path).returncode == 0
    text = (tmp_path / "tt" / "report.md").read_text().replace("\\", "")
    for row in ("t.csv, 60, class `y`, as names `y`", "t.csv, 60, class `z`, without `x`"):
        assert row in text
    assert "t.csv, 60, data" not in text, "what can be read tells them apart"


def test_what_may_be_meant_otherwise_is_said_in_short_lines(tmp_path):
    rows = [f"{1900 + i // 28}-02-{i % 28 + 1:02d},{i},{i % 3},{i % 2}\n" for i in range(1100)]
    (tmp_path / "sales.csv").write_text("date,number,x,late\n" + "".join(rows))
    for command in (["evaluate", "sales.csv", "-m", "nochange"], ["streams", "show", "sales.csv"]):
        done = commands.driftmoe(*command, cwd=tmp_path)
        assert done.returncode == 0
        said = [line for line in done.stderr.splitlines() if line.startswith("driftmoe: ")]
        assert max(map(len, said)) <= 80
        assert said == [
            "driftmoe: sales.csv, class: last column, `late`",
            "driftmoe: 'date': 1,100 dates as names; --drop 'date' or keep: --nominal 'date'",
            "driftmoe: 'number' grows with every row: an index or timestamp? --drop 'number'",
        ]
    quiet = ["--target", "late", "--drop", "number", "--nominal", "date"]
    done = commands.driftmoe("streams", "show", "sales.csv", *quiet, cwd=tmp_path)
    assert done.stderr == ""
    done = commands.driftmoe("streams", "show", "sales.csv", "--target", "number", cwd=tmp_path)
    assert "driftmoe: the target 'number' has 1,100 different labels; is it a class?" in done.stderr


def test_marks_of_missing_values_and_an_encoding_are_told(tmp_path):
    (tmp_path / "a.csv").write_bytes("size,colour,y\n-9,gr\xfcn,0\n2,rot,1\n".encode("latin-1"))
    done = commands.driftmoe("streams", "show", "a.csv", cwd=tmp_path)
    assert done.returncode == 2
    assert "--encoding latin-1" in done.stderr
    done = commands.driftmoe(
        "streams", "export", "a.csv", "b.csv", "--encoding", "latin-1", "--missing", "-9", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "b.csv").read_text() == "size,colour,y\n,grün,0\n2,rot,1\n"
    arguments = [
        "--encoding",
        "latin-1",
        "--missing",
        "-9",
        "--missing",
        "rot",
        "--out",
        "r",
        "--executor",
        "serial",
    ]
    done = commands.driftmoe("grid", "a.csv", "-m", "nochange", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (line,), _ = read_results(tmp_path / "r")
    assert line["reading"] == {"target": "y", "missing": ["-9", "rot"], "encoding": "iso8859-1"}


def test_a_grid_says_how_many_rows_it_left_out(tmp_path):
    (tmp_path / "few.csv").write_text("x,y\n" + "1,0\n2,1\noops\n" * 20)
    arguments = [
        "few.csv",
        "-m",
        "nochange",
        "-m",
        "majority",
        "--executor",
        "serial",
        "--on-bad-row",
        "skip",
    ]
    for _ in range(2):  # done, and done before
        done = commands.driftmoe("grid", *arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "driftmoe: few.csv, class: last column, `y`" in done.stderr
        assert done.stderr.count("driftmoe: few.csv: left out 20 malformed rows") == 1


def test_a_tab_may_be_written_as_a_backslash_and_a_t(tmp_path):
    (tmp_path / "a.csv").write_text("a\tb\ty\n" + "1\t2\tyes\n2\t3\tno\n" * 10)
    done = commands.driftmoe("streams", "show", "a.csv", "--delimiter", r"\t", cwd=tmp_path)
    assert done.returncode == 0
    assert "yes" in done.stdout


def test_a_folder_for_an_export_or_a_picture_is_made(tmp_path):
    for arguments in (["export", "led_a", "new/one/a.csv"], ["plot", "led_a", "--out", "new/two/a.png"]):
        done = commands.driftmoe("streams", *arguments, "--limit", "100", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.rglob("*.*")) == ["a.csv", "a.png"]


def test_control_characters_of_names_are_shown_as_escapes(tmp_path):
    names = ("red\x1b[31m", "u\x1b[2J", "v\x07")
    rows = "".join(f"{i},{names[1 + i % 2]}\n" for i in range(60))
    (tmp_path / "odd.csv").write_text(f"{names[0]},y\n{rows}")
    for arguments in (
        ["streams", "show", "odd.csv"],
        ["evaluate", "odd.csv", "-m", "nb", "--metric", "recall"],
    ):
        done = commands.driftmoe(*arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert not {"\x1b", "\x07"} & {*done.stdout, *done.stderr}
        assert r"u\x1b[2J" in done.stdout
    assert r"red\x1b[31m" in commands.driftmoe("streams", "show", "odd.csv", cwd=tmp_path).stdout
    known = json.loads((tmp_path / "runs" / "odd" / "results.jsonl").read_text())["metrics"]
    assert list(known) == [f"recall:{name}" for name in names[1:]]
