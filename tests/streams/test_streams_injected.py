"""Known drifts put into streams, and wrappers by name: what changes, where, and how far."""

from __future__ import annotations

import numpy as np
import pytest
from typer.testing import CliRunner

import streams
from driftmoe.cli import app
from driftmoe.experiment import read_results
from streams.opening import open_stream
from streams.stream import Drift
from streams.wrapped import WRAPPERS, innermost, is_wrapped
from streams.wrappers import FeaturePermutation, LabelSwap, PriorShift, Take


def plain(n=2000):
    return streams.make("waveform", seed=3, n_samples=n)


def all_of(stream, size=700):
    blocks = list(stream.blocks(size))
    return np.concatenate([b.X for b in blocks]), np.concatenate([b.y for b in blocks])


@pytest.mark.parametrize(("position", "size"), [(0, 1), (1, 7), (50, 100), (99, 13), (100, 30), (120, 99)])
def test_from_the_position_on_the_two_labels_are_exchanged_and_no_other(position, size):
    X, y = all_of(plain(100))
    swapped, labels = all_of(LabelSwap(plain(100), position=position, labels=[2, 0]), size)
    expected = y.copy()
    expected[position:] = np.array([2, 1, 0])[y[position:]]
    np.testing.assert_array_equal(labels, expected)
    np.testing.assert_array_equal(swapped, X)


@pytest.mark.parametrize("features", [None, ["att2", "att7"], ["att1", "att5", "att9"]])
def test_features_exchange_values_and_none_keeps_its_own(features):
    X, y = all_of(plain())
    wrapped = FeaturePermutation(plain(), position=800, features=features, seed=5)
    Z, labels = all_of(wrapped)
    np.testing.assert_array_equal(labels, y)
    np.testing.assert_array_equal(Z[:800], X[:800])
    names = [feature.name for feature in wrapped.features]
    chosen = [names.index(name) for name in features or names]
    rest = [column for column in range(21) if column not in chosen]
    np.testing.assert_array_equal(Z[:, rest], X[:, rest])
    source = [int(np.flatnonzero((X[800:] == Z[800:, [column]]).all(axis=0))[0]) for column in chosen]
    assert sorted(source) == sorted(chosen)
    assert all(a != b for a, b in zip(source, chosen, strict=True))
    assert len({tuple(FeaturePermutation(plain(), position=0, seed=s)._to) for s in (1, 2, 3)}) == 3


def test_a_gradual_change_rises_evenly_over_its_width():
    y = all_of(plain(30_000))[1]
    swapped = all_of(LabelSwap(plain(30_000), position=15_000, width=20_000, labels=[0, 1]))[1]
    of_two = y < 2
    is_new = (y != swapped)[of_two]
    index = np.flatnonzero(of_two)
    assert not is_new[index < 5_000].any()
    assert is_new[index >= 25_000].all()
    for begin in range(5_000, 25_000, 5_000):
        share = is_new[(index >= begin) & (index < begin + 5_000)].mean()
        assert abs(share - (begin + 2_500 - 5_000) / 20_000) < 5 * np.sqrt(0.25 / 3_000)


def test_each_drift_is_known_where_it_is():
    beneath = streams.make("sea_a", n_samples=1000)
    first, *rest = beneath.drifts
    assert LabelSwap(beneath, position=300, width=40).drifts == [first, Drift(300, 40), *rest]
    assert LabelSwap(plain(100), position=100).drifts == []  # after the end
    assert Take(LabelSwap(plain(100), position=50), 40).drifts == []
    shifted = PriorShift(plain(), {0: 1.0}, {1: 1.0}, position=70, width=20)
    assert shifted.drifts == [Drift(70, 20)]
    assert PriorShift(plain(), {0: 1.0}, {0: 1.0}, position=70, width=20).drifts == []


def test_the_same_change_again_leads_back():
    twice = LabelSwap(LabelSwap(plain(90), position=30), position=60)
    y, again = all_of(plain(90))[1], all_of(twice)[1]
    assert (again[:30] == y[:30]).all()
    assert (again[30:60] != y[30:60])[y[30:60] < 2].all()
    assert (again[60:] == y[60:]).all()


def test_a_file_that_does_not_say_its_classes_is_read_until_they_have_come(tmp_path):
    rows = [f"{i},{'abc'[i % 3]}" for i in range(3000)]
    (tmp_path / "f.csv").write_text("\n".join(["n,label", *rows]) + "\n")
    opened = open_stream(f"label-swap({tmp_path / 'f.csv'}, position=1, labels=['c', 'a'])")
    assert [y for _, y in opened][:6] == ["a", "b", "a", "c", "b", "a"]
    with pytest.raises(ValueError, match=r"label-swap: unknown class 'x'; available: \['a', 'b', 'c'\]"):
        open_stream(f"label-swap({tmp_path / 'f.csv'}, position=1, labels=['c', 'x'])")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: LabelSwap(plain(), position=-1), "position=-1; choose a whole number of samples, 0 or more"),
        (lambda: LabelSwap(plain(), position=1, width=0.5), "width=0.5"),
        (lambda: LabelSwap(plain(), position=1, labels=[1, 1]), r"labels=\[1, 1\]; name two classes of"),
        (lambda: LabelSwap(plain(), position=1, labels=[1, 9]), "unknown class 9"),
        (
            lambda: FeaturePermutation(plain(), position=1, features=["att1"]),
            "name two or more of the numeric",
        ),
        (lambda: FeaturePermutation(plain(), position=1, features="att1"), "name two or more of the numeric"),
        (
            lambda: FeaturePermutation(streams.make("agrawal"), position=1, features=["car", "salary"]),
            r"features=\['car', 'salary'\]; name two or more of the numeric ones: \['salary'",
        ),
    ],
)
def test_what_cannot_change_is_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()


# By name


@pytest.mark.parametrize(
    ("text", "wrapper"),
    [
        ("label-swap(waveform, position=50, width=20)", lambda s: LabelSwap(s, position=50, width=20)),
        (
            " feature-permutation( waveform , position=50, features=['att1', 'att2'])",
            lambda s: FeaturePermutation(s, position=50, features=["att1", "att2"]),
        ),
        (
            "take(label-swap('waveform', position=9), n_samples=60)",
            lambda s: Take(LabelSwap(s, position=9, seed=2), 60),
        ),
        (
            "prior-shift(waveform, before={0: 1.0}, after={1: 0.5, 2: 0.5}, position=40, width=10)",
            lambda s: Take(PriorShift(s, {0: 1.0}, {1: 0.5, 2: 0.5}, position=40, width=10), 100),
        ),
    ],
)
def test_a_text_is_the_wrapper_that_it_names(text, wrapper):
    inner = streams.make("waveform", seed=1, n_samples=None if "prior" in text else 100)
    opened, expected = open_stream(text, limit=100), wrapper(inner)
    assert innermost(text) == "waveform"
    assert opened.fingerprint() == expected.fingerprint()
    for found, of in zip(all_of(opened), all_of(expected), strict=True):
        np.testing.assert_array_equal(found, of)


def test_the_seed_of_the_run_is_that_of_the_wrapper_unless_it_has_one():
    of_run = open_stream("label-swap(waveform, position=50, width=80)", limit=100, seed=4)
    assert (of_run.seed, of_run.stream._seed if hasattr(of_run.stream, "_seed") else 4) == (4, 4)
    assert open_stream("label-swap(waveform, position=50, seed=9)", limit=100, seed=4).seed == 9
    nested = open_stream("label-swap(label-swap(sea, position=5), position=7)", limit=10, seed=4)
    assert (nested.seed, nested.stream.seed) == (4, 5)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "label-swap(sea)",
            "label-swap: missing 1 required keyword-only argument: 'position'; it takes position",
        ),
        ("label-swap(sea, posit=3)", "label-swap has no argument 'posit'; did you mean 'position'"),
        ("label-swap()", "label-swap needs a stream as its first argument"),
        ("label-swap(sea, 3)", "'3' cannot be read; write argument=value"),
        ("label-swap(sea, position=1, position=2)", "cannot be read; write argument=value"),
        ("label-swap(sea, width=5)(position=10)", "cannot be read; write argument=value"),
        ("label-swap(sea, **{'position': 5})", "cannot be read; write argument=value"),
        ("label-swap(sea, position=__import__('os'))", "cannot be read; write argument=value"),
        ("label-swap(nosuch, position=3)", "unknown stream 'nosuch'"),
        ("label-noise(sea, rate=3)", "label-noise: rate=3; choose a probability"),
        ("label-swop(sea, position=3)", "unknown stream 'label-swop"),
        ("take(" * 25 + "sea" + ", n_samples=3)" * 25, "more than 20 wrappers"),
    ],
)
def test_what_cannot_be_read_is_refused(text, said):
    with pytest.raises(ValueError, match=said):
        open_stream(text, limit=10)


def test_each_wrapper_has_a_name():
    from streams import wrappers

    assert set(WRAPPERS.values()) == set(wrappers.__all__) - {"PATIENCE", "Wrapper"}
    assert not any(map(is_wrapped, streams.names()))


def test_commands_take_wrapped_streams(tmp_path):
    text = "label-swap(sea, position=300, width=100)"
    run = CliRunner(env={"COLUMNS": "100"}).invoke
    out = tmp_path / "runs"
    done = run(
        app,
        [
            "grid",
            text,
            "-m",
            "nb",
            "-m",
            "majority",
            "--limit",
            "600",
            "--out",
            str(out),
            "--executor",
            "serial",
        ],
    )
    assert done.exit_code == 0, done.output
    results, _ = read_results(out)
    assert {(line["stream"], line["model"]) for line in results} == {(text, "nb"), (text, "majority")}
    assert [line["drifts"] for line in results] == [[[300, 100]]] * 2
    shown = run(app, ["streams", "show", text, "--limit", "600"])
    assert "Drifts: 300 (width 100)" in shown.output
    listed = run(app, ["streams", "list"])
    assert "label-swap" in listed.output
    assert max(map(len, listed.output.splitlines())) <= 80


@pytest.mark.parametrize("wrap", [LabelSwap, FeaturePermutation])
def test_blocks_of_any_size_are_equal_and_the_seed_decides_and_nothing_beneath_is_written(wrap):
    beneath = plain(600)
    before = all_of(beneath)
    stream = wrap(beneath, position=300, width=400)
    whole = all_of(stream, 600)
    for size in (1, 7, 299, 600):
        for found, expected in zip(all_of(stream, size), whole, strict=True):
            np.testing.assert_array_equal(found, expected)
    other = all_of(wrap(beneath, position=300, width=400, seed=2))
    assert not all(np.array_equal(a, b) for a, b in zip(other, whole, strict=True))
    for found, expected in zip(all_of(beneath), before, strict=True):
        np.testing.assert_array_equal(found, expected)
    assert (stream.features, stream.classes) == (beneath.features, beneath.classes)
