"""Mistakes on the command line end in one line and exit code 2."""

from __future__ import annotations

import commands
import pytest

from driftmoe.experiment import ResultFolder


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["evaluate", "electricty"],
            "unknown stream 'electricty'; did you mean 'electricity'? `driftmoe streams list`",
        ),
        (["streams", "show", "zzz"], "there are electricity, weather, covtype"),
        (
            ["evaluate", "led_a", "--model", "nosuch"],
            "unknown model 'nosuch'; there are driftmoe, moe-vote, moe-data",
        ),
        (["evaluate", "led_a", "--model", "arf(x=1)"], "model 'arf' has no argument 'x'; there are n_models"),
        (["evaluate", "led_a", "--nosuch"], "No such option: --nosuch"),
        (["evaluate", "led_a", "--modell", "ht"], "--model"),
        (
            ["evaluate", "led_a", "--columns", "acuracy"],
            "no column 'acuracy' in the table; did you mean 'accuracy'?",
        ),
        (
            ["evaluate", "led_a", "--delay", "1 day"],
            "--delay '1 day' is a time; say which column holds the time",
        ),
        (["evaluate", "led_a", "--delay", "5", "--time", "att1"], "--time att1 needs a delay in time"),
        (
            ["grid", "led_a", "-m", "ht", "--delay", "1 day", "--time", "at1"],
            "for the time; did you mean 'att1'",
        ),
        (["streams", "plot", "led_a", "--out", "a.foo"], "a.foo: a picture is written as its name ends"),
        (["evaluate", "led_a", "--limit", "0"], "--limit"),
        (["evaluate", "led_a", "--limit", "many"], "'--limit': Input should be a valid integer"),
        (["evaluate", "led_a", "--window", "0"], "--window"),
        (["nosuch"], "No such command 'nosuch'"),
        (["evaluate", "electricity", "--data-dir", "nowhere"], "nowhere"),
        (["evaluate", "led_a", "--limit", "1000", "--out", "occupied"], "occupied: is a file; give a folder"),
        (
            ["grid", "led_a", "-m", "ht", "--limit", "1000", "--out", "occupied"],
            "occupied: is a file; give a folder",
        ),
        (["evaluate", "led_a", "--load", "nosuch.moe"], "nosuch.moe: No such file or directory"),
        (["model", "show", "nosuch.moe"], "nosuch.moe: No such file or directory"),
        (
            ["evaluate", "led_a", "--delay", "abc"],
            "delay 'abc' is not a number of samples (1000), a range",
        ),
        (["grid", "led_a", "-m", "ht", "--delay", "abc"], "or a column (there are att1, att2"),
    ],
)
def test_a_mistake_ends_in_one_line_and_exit_code_2(tmp_path, arguments, message):
    (tmp_path / "occupied").write_text("a file, no folder")
    done = commands.driftmoe(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.startswith("driftmoe: ")
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""


def test_an_unreadable_result_file_is_named_and_kept(tmp_path):
    (tmp_path / "results.jsonl").write_text("{broken\n")
    done = commands.driftmoe("evaluate", "led_a", "--limit", "1000", "--out", ".", cwd=tmp_path)
    assert done.returncode == 2
    assert "results.jsonl, line 1 is not valid JSON" in done.stderr
    assert (tmp_path / "results.jsonl").read_text() == "{broken\n"


def test_an_empty_file_is_a_mistake(tmp_path):
    (tmp_path / "empty.csv").write_text("a,b\n")
    done = commands.driftmoe("evaluate", "empty.csv", "--model", "ht", cwd=tmp_path)
    assert done.returncode == 2
    assert "empty.csv" in done.stderr


@pytest.mark.parametrize(("name", "text"), [("windows.csv", "a,b\n1,2\n"), ("results.jsonl", '{"a": 1}\n')])
def test_a_folder_with_other_files_is_refused_before_the_work(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match="choose another folder"):
        ResultFolder(tmp_path)


def test_an_amount_is_refused_as_a_class(tmp_path):
    (tmp_path / "a.csv").write_text("x,amount\n" + "".join(f"{i % 7},{i}.25\n" for i in range(80)))
    done = commands.driftmoe("evaluate", "a.csv", cwd=tmp_path)
    assert done.returncode == 2
    assert "predicts classes, not amounts" in done.stderr
    assert len(done.stderr.splitlines()) == 1
