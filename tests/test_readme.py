"""The figures of README and of the page that compares: those of the result files. `test_docs.py` runs their blocks."""

from __future__ import annotations

import csv
import json
import re
from collections import defaultdict

import pytest
from places import ROOT

from benchmarks import picture
from driftmoe import models
from driftmoe.experiment import plain

RESULTS = ROOT / "benchmarks" / "results"
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMPARISON = (ROOT / "docs" / "comparison.md").read_text(encoding="utf-8")


def lines(name):
    return list(map(json.loads, (RESULTS / name).read_text(encoding="utf-8").splitlines()))


def table(text, start):
    """Return the rows of the table whose head begins with `start`, as lists of cells without marks."""
    after = text[text.index(start) :].split("\n\n")[0].splitlines()
    return [[cell.strip(" *`") for cell in row.strip("|").split("|")] for row in after]


def rounded(values):
    """Return what figures of two digits may be, for a half may be rounded up or down."""
    return pytest.approx(list(values), abs=0.005 + 1e-9, rel=0.0)


def test_it_is_short():
    assert len(README.splitlines()) <= 120


def test_what_it_links_to_is_there():
    targets = [target for target in re.findall(r"\]\(([^)#]+)", README) if "://" not in target]
    targets += re.findall(r'(?:src|srcset)="([^"]+)"', README)
    assert len(targets) > 15
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_make_knows_its_commands():
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    named = set(re.findall(r"^\$ make (\w+)", README, flags=re.MULTILINE))
    assert {"run", "test"} <= named <= set(targets)


def test_its_table_is_that_of_the_kept_results():
    accuracy = defaultdict(list)
    for line in lines("paper.jsonl"):
        if line["n_samples"] > 20_000:
            accuracy[line["stream"], line["model"]].append(100.0 * line["accuracy"])
    (_, *names), _, *rows, mean = table(README, "| stream | `driftmoe`")
    means = {key: sum(values) / len(values) for key, values in accuracy.items()}
    order = list(dict.fromkeys(lead.stream for lead in picture.leads()))
    assert [stream for stream, *_ in rows] == order  # as in the picture, where it is hardly ahead first
    for stream, *cells in rows:
        assert all(len(accuracy[stream, name]) == 3 for name in names)
        assert list(map(float, cells)) == rounded(means[stream, name] for name in names)
    assert list(map(float, mean[1:])) == rounded(
        sum(means[row[0], name] for row in rows) / 8 for name in names
    )


def test_what_it_says_of_the_strongest_is_in_the_kept_results():
    least = {}
    for lead in picture.leads():
        least[lead.stream] = min(lead.points, least.get(lead.stream, lead.points))
    said = " ".join(README.split())
    of = {stream: f"{least.pop(stream):.1f}" for stream in ("elec2", "rbf_f", "covtype")}
    assert (
        f"{of['elec2']} points behind on elec2, {of['rbf_f']} on rbf_f and {of['covtype']} on covtype" in said
    )
    assert f"{min(least.values()):.1f} to {max(least.values()):.1f} behind" in said


def test_the_pictures_are_those_of_the_kept_results():
    for path in picture.PICTURES.values():
        dots = re.findall(r'<g id="(\S+ moa-\S+ -?[\d.]+)">', path.read_text(encoding="utf-8"))
        assert sorted(dots) == sorted(
            f"{stream} {model} {points:.2f}" for stream, model, points in picture.leads()
        )


def test_a_lead_is_the_mean_over_common_seeds(tmp_path):
    of = {"stream": "sea_a", "n_samples": 100_000}
    runs = [
        {**of, "model": "driftmoe", "seed": 1, "accuracy": 0.90},
        {**of, "model": "driftmoe", "seed": 2, "accuracy": 0.80},
        {**of, "model": "moa-arf", "seed": 2, "accuracy": 0.75},
        {**of, "model": "moa-srp", "seed": 1, "accuracy": 0.89},
        {**of, "model": "moa-srp", "seed": 2, "accuracy": 0.81},
        {**of, "model": "moa-arf", "seed": 1, "accuracy": 0.99, "n_samples": 20_000},
    ]
    (tmp_path / "runs.jsonl").write_text("\n".join(map(json.dumps, runs)))
    found = {lead.model: round(lead.points, 6) for lead in picture.leads(tmp_path / "runs.jsonl")}
    assert found == {"moa-arf": 5.0, "moa-srp": 0.0}


def test_the_table_of_make_run_is_that_of_the_kept_results():
    head, _, *rows = table(COMPARISON, "| model | accuracy %")
    assert head[1:] == [
        "accuracy %",
        "kappa %",
        "kappa-M %",
        "kappa-T %",
        "kappa-O %",
        "macro F1 %",
        "samples/s",
        "model MB",
    ]
    for result, row in zip(lines("electricity.jsonl"), rows, strict=True):
        figures = ("accuracy", "kappa", "kappa_m", "kappa_t", "kappa_o", "f1_macro")
        shares = [f"{100 * result[key]:.2f}" for key in figures]
        rest = [f"{result['samples_per_second']:,.0f}", f"{result['model_bytes'] / 1e6:.2f}"]
        assert row == [result["model"], *shares, *rest]


def test_every_stream_that_is_lost_with_late_labels_is_named():
    accuracy = defaultdict(lambda: defaultdict(list))
    for line in lines("late.jsonl"):
        accuracy[line["stream"], int(line["delay"])][line["model"]].append(100.0 * line["accuracy"])
    assert len(accuracy) == 36
    names = ("driftmoe", "driftmoe(gate='equal')", "moe-data", "arf")
    lost = set()
    for (stream, delay), of in accuracy.items():
        means = [sum(of[name]) / len(of[name]) for name in names]
        if means[0] < max(means[1:]) - 0.5:
            lost.add((stream, f"{delay:,}", *(f"{mean:.2f}" for mean in means)))
    _, _, *rows = table(COMPARISON, "| stream | samples late |")
    assert {tuple(cell.strip("*") for cell in row) for row in rows} == lost


def test_what_it_says_of_late_labels_is_in_the_kept_results():
    accuracy = defaultdict(list)
    for line in lines("late.jsonl"):
        accuracy[line["stream"], int(line["delay"]), line["model"]].append(100.0 * line["accuracy"])
    mean = {key: sum(values) / len(values) for key, values in accuracy.items()}
    leads, n_behind = [], []
    for delay in (50, 500, 5000):
        others = sorted({stream for stream, *_ in mean} - {"rialto"})
        ahead = [mean[stream, delay, "driftmoe"] - mean[stream, delay, "arf"] for stream in others]
        leads.append(sum(ahead) / len(ahead))
        peers = ("driftmoe(gate='equal')", "moe-data", "arf")
        best = {stream: max(mean[stream, delay, name] for name in peers) for stream in others}
        n_behind.append(sum(mean[stream, delay, "driftmoe"] < best[stream] - 0.5 for stream in others))
    said = " ".join(README.split())
    assert (
        f"it is {min(leads):.0f} to {max(leads):.0f} points ahead of ARF with 10 trees, rialto left out"
        in said
    )
    assert n_behind == [0, 1, 4]
    assert "5,000 samples late, the default is *behind* simpler models on four of twelve" in said
    assert "and 500 late on one" in said


def test_every_stream_that_is_lost_at_full_length_is_named():
    """The paper's table has other names for streams, and the ensembles' figures with two digits."""
    with (ROOT / "benchmarks" / "paper_accuracy.csv").open() as file:
        published = {row.pop("stream").lower(): row for row in csv.DictReader(file)}
    best = {
        stream: max(float(value) for name, value in row.items() if value and not name.startswith("MoE"))
        for stream, row in published.items()
    }
    ours = {
        line["stream"]: 100.0 * line["accuracy"]
        for line in lines("full_length.jsonl")
        if line["model"] == "driftmoe"
    }
    lost = {
        (stream, f"{ours[stream]:.2f}", f"{best[stream]:.2f}")
        for stream in ours.keys() & best.keys()
        if ours[stream] < best[stream]
    }
    assert len(ours.keys() & best.keys()) == 6
    _, _, *rows = table(COMPARISON, "| stream | `driftmoe` | best of")
    assert set(map(tuple, rows)) == lost


def test_the_speeds_are_those_of_the_kept_results():
    """On one thread, beside CapyMOA's ARF: LED with numbers, with names (which MOA's trees like), and RBF."""
    speed = {
        line["what"]: line["samples_per_s"] for line in lines("speed.jsonl") if line.get("samples_per_s")
    }
    ours, short = speed["driftmoe: prequential"], speed["driftmoe: prequential, a tenth"]
    with_numbers = ours / speed["CapyMOA: ARF-10"]
    numbers = f"{with_numbers:.1f} and {short / speed['CapyMOA: ARF-100']:.0f} times"
    names = f"{ours / speed['CapyMOA: ARF-10, nominal']:.1f} times as fast as ARF with 10 trees"
    ours, short = speed["driftmoe: prequential, second"], speed["driftmoe: prequential, a tenth, second"]
    rbf = ours / speed["CapyMOA: ARF-10, second"], short / speed["CapyMOA: ARF-100, second"]
    for said in (
        numbers,
        names,
        f"RBF: {rbf[0]:.1f} times as fast as ARF with 10 trees, {rbf[1]:.0f} times as fast",
    ):
        assert said in COMPARISON
    most, least = (
        max(with_numbers, rbf[0]),
        min(short / speed["CapyMOA: ARF-100, second"], float(numbers.split()[2])),
    )
    assert f"{names[:3]} to {most:.1f} times as fast as MOA's ARF with 10 trees" in README
    assert least > float(re.search(r"more than (\d+) times as fast as with 100", README)[1])


def test_the_losses_in_words_are_those_of_the_kept_results():
    goals = {name: reached for name, _, reached, _ in table((RESULTS / "paper.md").read_text(), "| goal |")}
    said = " ".join(COMPARISON.split())
    assert goals["mean, ahead of the best peer's mean"].startswith("+2.44 ")
    assert "2.44 points ahead" in said
    assert goals["learnt gate, ahead of equal votes"].startswith("+1.13 ")
    assert "1.13 above equal votes" in said
    assert goals["least above its best single expert: rbf_f"] == "-0.19"
    assert "by 0.19 points" in said
    (led,) = [line for line in lines("ablation/long.jsonl") if line["stream"] == "led_a"]
    assert f"{led['model_bytes'] / 1e6:.1f} MB on led_a" in said


def test_the_result_file_is_of_todays_defaults():
    (line,) = [line for line in lines("electricity.jsonl") if line["model"] == "driftmoe"]
    then = {name: value for name, value in line["parameters"].items() if value is not None}
    today = json.loads(json.dumps(plain(models.make("driftmoe", seed=line["seed"]).settings)))
    assert len(then.keys() & today.keys()) > 8
    assert {name: today[name] for name in then.keys() & today.keys()} == {
        name: then[name] for name in then.keys() & today.keys()
    }


@pytest.mark.parametrize("symbol", ["FLOOR", "MEMORY_WEIGHT", "SURPRISE"])
def test_the_constants_on_the_page_of_the_method_are_those_of_the_code(symbol):
    from driftmoe.mixture import adaptive, gate

    said = {"FLOOR": "0.02 |", "MEMORY_WEIGHT": "starts at 3 |", "SURPRISE": "exceeds 1.25 times"}[symbol]
    value = getattr(gate, symbol, None) or getattr(adaptive, symbol)
    assert f"{value:g}" in said
    assert said in (ROOT / "docs" / "method.md").read_text(encoding="utf-8")
