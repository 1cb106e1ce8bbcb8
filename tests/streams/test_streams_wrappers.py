from functools import partial
from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams import Block, Drift, Feature, Stream, selections
from streams.benchmark import STREAMS
from streams.synthetic import LED, Agrawal
from streams.wrappers import (
    ClassesAppear,
    ClassImbalance,
    FeatureNoise,
    FeaturesAppear,
    FeaturesVanish,
    LabelNoise,
    MissingValues,
    PriorShift,
    ShuffleWindow,
    Take,
)


class Numbered(Stream):
    """Sample i has the features i and -i; the classes are drawn with given shares, or follow a given list."""

    def __init__(self, n_samples, *, shares=(0.5, 0.3, 0.2), y=None, drifts=()):
        super().__init__(
            features=[Feature("i"), Feature("minus")],
            classes=["a", "b", "c"],
            n_samples=n_samples,
            drifts=drifts,
        )
        self.y = np.random.default_rng(3).choice(3, n_samples, p=shares) if y is None else np.array(y)

    def reader(self):
        done = 0

        def read(n):
            nonlocal done
            i = np.arange(done, min(done + n, self.n_samples))
            done += len(i)
            return Block(np.stack([i, -i], axis=1).astype(float), self.y[i])

        return read


def read_all(stream, size=1024):
    """Return the samples as one block, read `size` at a time."""
    X, y = zip(*stream.blocks(size), strict=True)
    return Block(np.concatenate(X), np.concatenate(y))


def assert_share(observed, expected, n):
    """Five standard deviations of a binomial share, and five samples for shares near 0 or 1."""
    assert abs(observed - expected) <= 5 * sqrt(expected * (1 - expected) / n) + 5 / n


WRAPPED = {
    "take": lambda s: Take(s, 1234),
    "label noise": lambda s: LabelNoise(s, 0.3),
    "feature noise": lambda s: FeatureNoise(s, 0.5),
    "missing values": lambda s: MissingValues(s, 0.3),
    "features appear": lambda s: FeaturesAppear(s, {"salary": 700, "car": 20}),
    "features vanish": lambda s: FeaturesVanish(s, {"salary": 700, "car": 20}),
    "shuffle window": lambda s: ShuffleWindow(s, 100),
    "class imbalance": lambda s: ClassImbalance(s, {0: 0.9, 1: 0.1}),
    "prior shift": lambda s: PriorShift(s, {0: 0.9, 1: 0.1}, {0: 0.2, 1: 0.8}, position=500, width=300),
    "classes appear": lambda s: ClassesAppear(s, {1: 500}),
    "one over another": lambda s: LabelNoise(
        ShuffleWindow(ClassImbalance(s, {0: 0.7, 1: 0.3}), 50), 0.2, seed=2
    ),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_blocks_of_any_size_and_the_second_reading_are_equal(name):
    stream = WRAPPED[name](Agrawal(function=2, seed=5, n_samples=3000))
    once = read_all(stream, 5000)
    assert len(once.y) > 100
    for size in (1, 13, 1024, 5000):
        again = read_all(stream, size)
        np.testing.assert_array_equal(again.X, once.X)
        np.testing.assert_array_equal(again.y, once.y)


@pytest.mark.parametrize("name", WRAPPED)
def test_wrapper_describes_its_samples_as_the_stream_beneath(name):
    beneath = Agrawal(function=2, seed=5, n_samples=3000)
    stream = WRAPPED[name](beneath)
    assert stream.features == beneath.features
    assert stream.classes == beneath.classes
    length = len(read_all(stream).y)
    assert stream.n_samples in (None, length)
    x, y = next(iter(stream))
    assert set(x) <= {f.name for f in beneath.features}
    assert y in beneath.classes


@pytest.mark.parametrize("name", WRAPPED)
def test_no_wrapper_writes_into_the_samples_beneath(name):
    class Kept(Numbered):
        def __init__(self):
            super().__init__(2000, shares=(0.5, 0.5, 0.0))
            self.given = []
            self._schema.features[:] = [Feature("salary"), Feature("car")]
            self._schema.classes[:] = [0, 1]

        def reader(self):
            read = super().reader()

            def read_and_keep(n):
                block = read(n)
                self.given.append((block, block.X.copy(), block.y.copy()))
                return block

            return read_and_keep

    beneath = Kept()
    read_all(WRAPPED[name](beneath))
    assert beneath.given
    for block, X, y in beneath.given:
        np.testing.assert_array_equal(block.X, X)
        np.testing.assert_array_equal(block.y, y)


RANDOM = {
    "label noise": partial(LabelNoise, rate=0.5),
    "feature noise": partial(FeatureNoise, deviation=1.0),
    "missing values": partial(MissingValues, rate=0.5),
    "shuffle window": partial(ShuffleWindow, window=50),
    "class imbalance": partial(ClassImbalance, proportions={"a": 0.5, "b": 0.5}),
    "prior shift": partial(PriorShift, before={"a": 1.0}, after={"b": 1.0}, position=100, width=200),
}


@pytest.mark.parametrize("name", RANDOM)
def test_seed_changes_what_is_drawn(name):
    first, second = (read_all(RANDOM[name](Numbered(500), seed=seed)) for seed in (1, 2))
    n = min(len(first.y), len(second.y))
    assert not (
        np.array_equal(first.X[:n], second.X[:n], equal_nan=True)
        and np.array_equal(first.y[:n], second.y[:n])
    )


def test_take_is_the_beginning_and_keeps_its_drifts():
    stream = Take(Numbered(100, drifts=[Drift(20), Drift(50)]), 50)
    assert stream.n_samples == 50
    assert stream.drifts == [Drift(20)]
    assert read_all(stream, 7).X[:, 0].tolist() == list(range(50))
    assert Take(Numbered(10), 50).n_samples == 10
    assert Take(LED(), 50).n_samples == 50


def test_label_noise_of_zero_changes_nothing():
    noisy, clean = read_all(LabelNoise(Numbered(500), 0.0)), read_all(Numbered(500))
    np.testing.assert_array_equal(noisy.y, clean.y)
    np.testing.assert_array_equal(noisy.X, clean.X)


@given(st.floats(0.0, 1.0), st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_label_noise_replaces_the_asked_share_by_every_other_class(rate, seed):
    n = 5000
    clean = read_all(Numbered(n))
    noisy = read_all(LabelNoise(Numbered(n), rate, seed=seed))
    np.testing.assert_array_equal(noisy.X, clean.X)
    assert_share((noisy.y != clean.y).mean(), rate, n)
    for label in range(3):
        of_label = clean.y == label
        for other in {0, 1, 2} - {label}:
            assert_share((noisy.y[of_label] == other).mean(), rate / 2, of_label.sum())


@given(st.floats(0.01, 100.0), st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_feature_noise_is_normal_with_the_asked_deviation_on_the_asked_features(deviation, seed):
    n = 4000
    noisy = read_all(FeatureNoise(Numbered(n), deviation, features=["minus"], seed=seed))
    clean = read_all(Numbered(n))
    np.testing.assert_array_equal(noisy.X[:, 0], clean.X[:, 0])
    np.testing.assert_array_equal(noisy.y, clean.y)
    noise = (noisy.X - clean.X)[:, 1] / deviation
    assert abs(noise.mean()) <= 5 / sqrt(n)
    assert abs(noise.var() - 1) <= 5 * sqrt(2 / n)
    assert_share((np.abs(noise) < 1).mean(), 0.6827, n)


def test_feature_noise_leaves_nominal_features_alone():
    clean, noisy = (read_all(s) for s in (Agrawal(n_samples=200), FeatureNoise(Agrawal(n_samples=200), 1.0)))
    nominal = [f.is_nominal for f in Agrawal().features]
    np.testing.assert_array_equal(noisy.X[:, nominal], clean.X[:, nominal])
    assert (noisy.X[:, np.logical_not(nominal)] != clean.X[:, np.logical_not(nominal)]).all()
    with pytest.raises(ValueError, match=r"\['car'\] are nominal; choose among"):
        FeatureNoise(Agrawal(), 1.0, features=["car", "salary"])


@given(st.floats(0.0, 1.0), st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_missing_values_have_the_asked_share_and_the_others_stay(rate, seed):
    n = 4000
    gappy, clean = read_all(MissingValues(Numbered(n), rate, seed=seed)), read_all(Numbered(n))
    is_missing = np.isnan(gappy.X)
    for column in range(2):
        assert_share(is_missing[:, column].mean(), rate, n)
    np.testing.assert_array_equal(gappy.X[~is_missing], clean.X[~is_missing])
    np.testing.assert_array_equal(gappy.y, clean.y)


def test_missing_values_keep_to_the_named_features_and_have_no_key():
    stream = MissingValues(Numbered(300), 1.0, features=["i"])
    assert [list(x) for x, _ in stream] == [["minus"]] * 300


@given(st.integers(0, 400), st.integers(0, 400), st.integers(1, 400))
@settings(max_examples=50, deadline=None)
def test_features_are_missing_exactly_before_they_appear_and_after_they_vanish(first, second, size):
    clean = read_all(Numbered(300))
    index = np.arange(300)[:, None]
    positions = {"minus": second, "i": first}
    before = index < [first, second]
    for wrap, is_hidden in ((FeaturesAppear, before), (FeaturesVanish, ~before)):
        hidden = read_all(wrap(Numbered(300), positions), size)
        np.testing.assert_array_equal(hidden.X, np.where(is_hidden, np.nan, clean.X))
        np.testing.assert_array_equal(hidden.y, clean.y)


@given(st.integers(1, 500), st.integers(1, 70), st.integers(0, 2**32), st.integers(1, 100))
@settings(max_examples=50, deadline=None)
def test_shuffling_permutes_and_moves_no_sample_by_a_window(n, window, seed, size):
    clean, shuffled = read_all(Numbered(n)), read_all(ShuffleWindow(Numbered(n), window, seed=seed), size)
    origin = shuffled.X[:, 0].astype(int)
    assert sorted(origin) == list(range(n))
    assert np.abs(origin - np.arange(n)).max() < window
    np.testing.assert_array_equal(shuffled.y, clean.y[origin])


def test_a_drift_takes_the_shuffled_windows_in_which_it_lies():
    known = [(100, 1), (230, 10), (400, 200), (510, 1), (610, 120), (800, 20), (960, 1)]
    drifts = [Drift(*one) for one in known]
    shuffled = ShuffleWindow(Numbered(970, drifts=drifts), 100)
    taken = [(100, 1), (250, 100), (400, 200), (550, 100), (600, 200), (800, 200), (935, 70)]
    assert shuffled.drifts == [Drift(*one) for one in taken]
    assert shuffled.fingerprint() != ShuffleWindow(Numbered(970, drifts=drifts), 50).fingerprint()


def test_shuffling_leaves_no_order_within_a_window():
    origin = read_all(ShuffleWindow(Numbered(10_000), 10)).X[:, 0].astype(int) % 10
    for place in range(10):
        counts = np.bincount(origin[place::10], minlength=10)
        assert ((counts - 100) ** 2 / 100).sum() < 45  # chi-square of 9 degrees of freedom, p = 1e-6


def test_shuffling_streams_reads_no_more_than_a_window_ahead():
    class Watched(Numbered):
        largest = 0

        def reader(self):
            read = super().reader()

            def watch(n):
                Watched.largest = max(self.largest, n)
                return read(n)

            return watch

    read_all(ShuffleWindow(Watched(5000), 64), 1024)
    assert Watched.largest == 64


@st.composite
def proportions(draw):
    shares = np.array(draw(st.lists(st.floats(0.05, 1.0), min_size=3, max_size=3)))
    return dict(zip("abc", (shares / shares.sum()).tolist(), strict=True))


@given(proportions(), st.integers(0, 2**32))
@settings(max_examples=25, deadline=None)
def test_class_imbalance_gives_the_asked_proportions_in_order(shares, seed):
    clean = read_all(Numbered(20_000))
    chosen = read_all(ClassImbalance(Numbered(20_000), shares, seed=seed))
    origin = chosen.X[:, 0].astype(int)
    assert (np.diff(origin) > 0).all()
    np.testing.assert_array_equal(chosen.y, clean.y[origin])
    n = 2000
    for label, share in enumerate(shares.values()):
        assert_share((chosen.y[:n] == label).mean(), share, n)


def test_class_imbalance_holds_while_the_classes_beneath_change():
    y = np.random.default_rng(1).choice(3, 30_000, p=[0.8, 0.1, 0.1])
    y[15_000:] = (y[15_000:] + 1) % 3
    chosen = read_all(ClassImbalance(Numbered(30_000, y=y), {"a": 0.6, "b": 0.4}))
    early = chosen.X[:, 0] < 15_000
    for part in (chosen.y[early], chosen.y[~early]):
        assert len(part) > 1000
        assert_share((part == 0).mean(), 0.6, len(part))
    assert not (chosen.y == 2).any()


def test_prior_shift_moves_the_proportions_evenly_over_its_width():
    stream = PriorShift(
        LED(noise=0.0, seed=2), dict(enumerate([0.1] * 10)), {3: 0.7, 8: 0.3}, position=10_000, width=8000
    )
    y = np.concatenate([block.y for block in Take(stream, 20_000).blocks()])
    for begin, end, moved in ((0, 6000, 0), (7500, 8500, 0.25), (9500, 10_500, 0.5), (14_000, 20_000, 1)):
        part = y[begin:end]
        for label in range(10):
            share = (1 - moved) * 0.1 + moved * {3: 0.7, 8: 0.3}.get(label, 0.0)
            assert_share((part == label).mean(), share, len(part))


def test_prior_shift_of_width_zero_changes_at_its_position():
    y = read_all(PriorShift(Numbered(2000), {"a": 1.0}, {"c": 1.0}, position=100, width=0)).y
    assert (y[:100] == 0).all()
    assert len(y) > 200
    assert (y[100:] == 2).all()


def test_class_that_never_comes_is_an_error_not_an_endless_loop(monkeypatch):
    monkeypatch.setattr(selections, "PATIENCE", 10_000)
    stream = ClassImbalance(Numbered(100_000, shares=(0.5, 0.5, 0.0)), {"c": 1.0})
    with pytest.raises(ValueError, match="none of 10000 consecutive samples is of a class that is due"):
        read_all(stream)


@given(st.integers(0, 300), st.integers(0, 300), st.integers(1, 300))
@settings(max_examples=50, deadline=None)
def test_classes_are_withheld_until_they_appear_and_nothing_else_is(first, second, size):
    clean = read_all(Numbered(1000))
    expected = []
    for i, label in enumerate(clean.y):
        if len(expected) >= (0, first, second)[label]:
            expected.append(i)
    chosen = read_all(ClassesAppear(Numbered(1000), {"b": first, "c": second}), size)
    np.testing.assert_array_equal(chosen.X[:, 0], expected)
    np.testing.assert_array_equal(chosen.y, clean.y[expected])


def test_drifts_pass_through_and_follow_the_samples_that_are_left():
    drifts = [Drift(400, 100), Drift(800, 1)]
    for stream in (
        LabelNoise(Numbered(1000, drifts=drifts), 0.1),
        ShuffleWindow(Numbered(1000, drifts=drifts), 10),
        FeaturesVanish(Numbered(1000, drifts=drifts), {"i": 10}),
    ):
        assert stream.drifts == drifts
    y = np.tile([0, 1], 500)  # without class b every other sample is left
    kept = ClassImbalance(Numbered(1000, y=y, drifts=drifts), {"a": 1.0})
    assert kept.drifts == [Drift(200, 50), Drift(400, 1)]
    assert len(read_all(kept).y) == 500
    assert ClassImbalance(Numbered(1000), {"a": 1.0}).drifts == []
    beyond_the_end = ClassImbalance(Numbered(1000, y=y, drifts=[Drift(5000)]), {"a": 1.0})
    assert beyond_the_end.drifts == [Drift(500, 0)]


def test_wrappers_stand_over_drifting_streams():
    beneath = STREAMS["sea_g"](1, 2000)
    assert LabelNoise(beneath, 0.1).drifts == beneath.drifts
    imbalanced = ClassImbalance(beneath, {0: 0.5, 1: 0.5})
    n = len(read_all(imbalanced).y)
    assert [round(d.position / n, 1) for d in imbalanced.drifts] == [0.2, 0.5, 0.7]


def test_fingerprint_tells_wrappers_apart_that_begin_alike():
    def stream(n=5000):
        return Numbered(n)

    alike = [
        stream(),
        FeaturesVanish(stream(), {"i": 2000}),
        FeaturesVanish(stream(), {"i": 3000}),
        FeaturesVanish(stream(), {"minus": 3000}),
        MissingValues(stream(), 0.0),
        MissingValues(stream(), 0.0, seed=2),
        MissingValues(stream(), 0.0, features=["i"]),
        FeatureNoise(stream(), 0.0),
        FeatureNoise(stream(), 0.0, features=["i"]),
        ClassesAppear(stream(), {"a": 0}),
        LabelNoise(LabelNoise(stream(), 0.0), 0.0),
        LabelNoise(stream(), 0.0),
    ]
    assert len({s.fingerprint() for s in alike}) == len(alike)
    assert alike[1].fingerprint() == FeaturesVanish(stream(), {"i": 2000}).fingerprint()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda s: Take(s, -1), "n_samples=-1; choose 0 or more"),
        (lambda s: LabelNoise(s, 1.1), "rate=1.1; choose a probability"),
        (lambda s: LabelNoise(s, float("nan")), "rate=nan; choose a probability"),
        (lambda s: FeatureNoise(s, -1.0), "deviation=-1.0; choose 0 or more"),
        (lambda s: MissingValues(s, -0.1), "rate=-0.1; choose a probability"),
        (lambda s: MissingValues(s, 0.1, features=["z"]), r"unknown features \['z'\]; available: i, minus"),
        (lambda s: FeaturesVanish(s, {"z": 1}), r"unknown features \['z'\]"),
        (lambda s: ShuffleWindow(s, 0), "window=0 samples; choose at least 1"),
        (lambda s: ClassImbalance(s, {"z": 1.0}), r"unknown class 'z'; available: \['a', 'b', 'c'\]"),
        (lambda s: ClassImbalance(s, {"a": 0.5}), "choose shares of at least 0 that add up to 1"),
        (lambda s: ClassImbalance(s, {"a": 1.5, "b": -0.5}), "choose shares of at least 0 that add up to 1"),
        (lambda s: PriorShift(s, {"a": 1.0}, {"b": 1.0}, position=5, width=-1), "width=-1 samples"),
        (lambda s: ClassesAppear(s, {"z": 5}), "unknown class 'z'"),
    ],
)
def test_wrong_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make(Numbered(10))


def test_label_noise_needs_two_classes():
    class One(Numbered):
        classes = ("a",)

    with pytest.raises(ValueError, match="it needs two or more"):
        LabelNoise(One(10), 0.1)


class Growing(Stream):
    """A stream that shows its third and fourth class only from sample 1000 on, as a file may."""

    def __init__(self, n_samples=3000):
        super().__init__(features=[Feature("i")], classes=["a", "b"], n_samples=n_samples)

    def reader(self):
        done = 0

        def read(n):
            nonlocal done
            i = np.arange(done, min(done + n, self.n_samples))
            done += len(i)
            if done > 1000 and len(self.classes) == 2:
                self.classes.extend(["c", "d"])
            return Block(i[:, None].astype(float), np.where(i < 1000, i % 2, i % 4))

        return read


def test_classes_that_come_later_are_never_left_out():
    appearing = ClassesAppear(Growing(), {"b": 500})
    samples = read_all(appearing)
    i = samples.X[:, 0].astype(int)
    assert appearing.classes == ["a", "b", "c", "d"]
    np.testing.assert_array_equal(i[-2000:], np.arange(1000, 3000))
    np.testing.assert_array_equal(samples.y, np.where(i < 1000, i % 2, i % 4))


def test_number_of_classes_and_task_follow_the_stream_beneath():
    growing = Growing()
    wrapper = ShuffleWindow(Take(growing, 2000), 10)
    assert (wrapper.n_classes, wrapper.task) == (2, "Binary classification")
    read_all(growing)
    assert (wrapper.n_classes, wrapper.task) == (4, "Multi-class classification")


def test_label_noise_refuses_a_class_that_was_unknown_and_repeats_what_came_before():
    noisy = LabelNoise(Growing(), 0.5)

    def read_on():
        blocks = noisy.blocks(100)
        yield from (next(blocks).y for _ in range(10))
        with pytest.raises(ValueError, match="class 'd' comes, but only \\['a', 'b'\\] were known"):
            next(blocks)

    np.testing.assert_array_equal(list(read_on()), list(read_on()))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda s: FeatureNoise(s, 0.1, features="minus"), r"features='minus' is a single name.*\['minus'\]"),
        (lambda s: MissingValues(s, 0.1, features="minus"), "features='minus' is a single name"),
        (lambda s: FeaturesAppear(s, "minus"), "positions='minus'; give a mapping"),
        (lambda s: FeaturesVanish(s, ["minus"]), r"positions=\['minus'\]; give a mapping"),
        (lambda s: ClassesAppear(s, "a"), "positions='a'; give a mapping"),
        (lambda s: ClassImbalance(s, "a"), "proportions='a'; give a mapping"),
    ],
)
def test_one_name_where_several_go_is_refused(make, message):
    with pytest.raises(TypeError, match=message):
        make(Numbered(10))


@pytest.mark.parametrize(
    "make",
    [
        LabelNoise,
        FeatureNoise,
        MissingValues,
        lambda s, _, **seed: ShuffleWindow(s, 50, **seed),
        lambda s, _, **seed: ClassImbalance(s, {"a": 0.5, "b": 0.5}, **seed),
    ],
)
def test_seed_none_is_the_default_seed(make):
    ours, default = read_all(make(Numbered(500), 0.3, seed=None)), read_all(make(Numbered(500), 0.3))
    np.testing.assert_array_equal(ours.X, default.X)
    np.testing.assert_array_equal(ours.y, default.y)
