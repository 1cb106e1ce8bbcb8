from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from places import VECTORS

from benchmarks.moa_parity_drift import ANGLE, SETTINGS, cases
from streams import Block, Drift, Feature, Stream
from streams.benchmark import STREAMS
from streams.drift import (
    ConceptDrift,
    RecurrentConceptDrift,
    Switching,
    angle_width,
    drifting,
    incremental,
    recurring,
)
from streams.synthetic import LED, SEA, SEGMENTS, LEDDrift


class Counted(Stream):
    """Sample i has the feature value i, and the class `label` tells the concept."""

    def __init__(self, label, *, n_samples=None, drifts=(), feature="i", classes=range(10)):
        super().__init__(features=[Feature(feature)], classes=classes, n_samples=n_samples, drifts=drifts)
        self.label = label

    def reader(self):
        done = 0

        def read(n):
            nonlocal done
            if self.n_samples is not None:
                n = min(n, self.n_samples - done)
            X = np.arange(done, done + n, dtype=float)[:, None]
            done += n
            return Block(X, np.full(n, self.label))

        return read


def read_all(stream, size, n=None):
    """Return the samples as one block, read `size` at a time."""
    blocks = stream.blocks(size) if n is None else islice(stream.blocks(size), -(-n // size))
    X, y = zip(*blocks, strict=True)
    return np.concatenate(X)[:n], np.concatenate(y)[:n]


def assert_same(samples, expected):
    np.testing.assert_array_equal(samples[0], expected[0])
    np.testing.assert_array_equal(samples[1], expected[1])


@pytest.mark.parametrize("seed", [1, 42])
@pytest.mark.parametrize("name", ["led_a", "led_g", "sea_a", "sea_g"])
def test_named_composites_equal_capymoas_samples(name, seed):
    vector = np.load(VECTORS / f"{name}_short_seed{seed}.npz")
    assert_same(read_all(STREAMS[name](seed, 2000), 1024), (vector["X"], vector["y"]))


def test_explicit_positions_and_widths_equal_capymoas_samples():
    concepts = [SEA(function=f, seed=42) for f in (1, 2, 4, 1)]
    vector = np.load(VECTORS / "sea_g_short_seed42.npz")
    stream = drifting(concepts, [450, 950, 1450], 100, n_samples=2000)
    assert_same(read_all(stream, 512), (vector["X"], vector["y"]))
    stream = drifting(concepts, [450, 950, 1450], [100, 100, 100], n_samples=2000)
    assert_same(read_all(stream, 512), (vector["X"], vector["y"]))


@pytest.mark.parametrize("name", [*SETTINGS, "angle"])
def test_concept_drift_equals_moas_samples(name):
    vector = np.load(VECTORS / "moa_concept_drift.npz")
    stream = next(stream for case, stream, _ in cases(seed=42, n_samples=1000) if case == name)
    assert_same(read_all(stream, 100, n=1000), (vector[f"{name} X"], vector[f"{name} y"]))


@pytest.mark.parametrize("name", STREAMS)
def test_blocks_of_any_size_and_the_second_reading_are_equal(name):
    stream = STREAMS[name](7, 2000)
    once = read_all(stream, 2000)
    assert len(once[1]) == 2000
    for size in (1, 7, 333, 1024, 5000):
        assert_same(read_all(stream, size), once)


@pytest.mark.parametrize("name", STREAMS)
def test_both_views_give_the_same_samples(name):
    stream = STREAMS[name](7, 200)
    X, y = read_all(stream, 64)
    for (x, label), row, target in zip(stream, X, y, strict=True):
        assert stream.classes[target] == label
        for feature, value in zip(stream.features, row, strict=True):
            assert x[feature.name] == (feature.values[int(value)] if feature.is_nominal else value)


@pytest.mark.parametrize("name", STREAMS)
def test_named_streams_have_the_length_asked_for_and_a_million_samples_by_default(name):
    assert STREAMS[name](None, None).n_samples == 1_000_000
    for n in (8, 30, 123):
        assert len(read_all(STREAMS[name](None, n), 50)[1]) == n


@pytest.mark.parametrize(
    ("name", "n", "width"),
    [("led_a", 1_000_000, 50), ("led_g", 1_000_000, 50_000), ("sea_a", 10_000, 50), ("sea_g", 100_000, 5000)],
)
def test_named_composites_drift_at_the_quarters_less_half_a_width(name, n, width):
    expected = [Drift(n // 4 * i - width // 2, width) for i in (1, 2, 3)]
    assert STREAMS[name](3, n).drifts == expected


def test_too_few_samples_for_the_concepts_are_refused():
    with pytest.raises(ValueError, match="n_samples=3 for 4 concepts"):
        STREAMS["led_a"](1, 3)
    with pytest.raises(ValueError, match="n_samples=7 for 8 segments"):
        STREAMS["recurrent_led"](1, 7)


@given(st.integers(0, 300), st.integers(0, 200), st.integers(-(2**31), 2**31 - 1), st.integers(1, 200))
@settings(max_examples=50, deadline=None)
def test_only_the_chosen_concept_moves_on(position, width, seed, size):
    stream = ConceptDrift(Counted(0), Counted(1), position=position, width=width, seed=seed, n_samples=400)
    X, y = read_all(stream, size)
    for concept in (0, 1):
        np.testing.assert_array_equal(X[y == concept, 0], np.arange((y == concept).sum()))


def test_share_of_the_new_concept_follows_the_sigmoid():
    n, width = 40_000, 8000
    _, y = read_all(ConceptDrift(Counted(0), Counted(1), position=n // 2, width=width, n_samples=n), 1024)
    for begin in range(0, n, 4000):
        k = np.arange(begin, begin + 4000)
        p = 1 / (1 + np.exp(-4 * (k + 1 - n // 2) / width))
        deviation = np.sqrt((p * (1 - p)).sum())
        assert abs(y[k].sum() - p.sum()) <= 5 * deviation + 1e-6


def test_seed_of_the_decisions_changes_them():
    stream = [
        read_all(ConceptDrift(Counted(0), Counted(1), position=100, width=100, seed=s, n_samples=200), 200)[1]
        for s in (1, 2)
    ]
    assert (stream[0] != stream[1]).any()


def test_width_of_zero_switches_at_the_position_without_overlap():
    _, y = read_all(ConceptDrift(Counted(0), Counted(1), position=30, width=0, n_samples=60), 60)
    np.testing.assert_array_equal(y, np.repeat([0, 1], [29, 31]))


def test_angle_gives_moas_width():
    assert angle_width(45) == 1  # tan(45 degrees) = 1
    assert angle_width(90) == 0
    assert angle_width(ANGLE) == 5729  # 1 / tan(0.01 degrees) = 5729.57795...
    for alpha in (0, -1, 91):
        with pytest.raises(ValueError, match="choose an angle above 0 and at most 90"):
            angle_width(alpha)


def test_composition_ends_where_the_chosen_concept_ends():
    stream = Switching([Counted(0), Counted(1, n_samples=15), Counted(2)], [10, 40])
    for size in (1, 7, 100):
        _X, y = read_all(stream, size)
        np.testing.assert_array_equal(y, np.repeat([0, 1], [10, 15]))
    mixed = ConceptDrift(Counted(0, n_samples=100), Counted(1, n_samples=60), position=80, width=60)
    ends = [read_all(mixed, size) for size in (1, 7, 500)]
    assert_same(ends[0], ends[1])
    assert_same(ends[0], ends[2])
    assert (ends[0][1] == 1).sum() == 60
    read = mixed.reader()
    read(500)
    assert not len(read(500).y)


def test_switching_changes_exactly_at_the_positions():
    _X, y = read_all(Switching([Counted(0), Counted(1), Counted(2)], [10, 12], n_samples=20), 6)
    np.testing.assert_array_equal(y, np.repeat([0, 1, 2], [10, 2, 8]))


def test_recurring_concepts_go_on_where_they_were_left():
    a, b, c = Counted(0), Counted(1), Counted(2)
    stream = recurring([a, b, c], every=10, n_segments=7, n_samples=75)
    X, y = read_all(stream, 8)
    np.testing.assert_array_equal(y, np.repeat([0, 1, 2, 0, 1, 2, 0], [10] * 6 + [15]))
    np.testing.assert_array_equal(X[y == 0, 0], np.arange(35))
    assert stream.drifts == [Drift(10 * i) for i in range(1, 7)]


def test_incremental_drift_passes_through_every_intermediate_concept():
    made = []

    def make(label, seed):
        made.append((label, seed))
        return Counted(label)

    stream = incremental(make, [0, 3, 5, 7, 9], position=50, width=30, seed=4, n_samples=100)
    _, y = read_all(stream, 16)
    np.testing.assert_array_equal(y, np.repeat([0, 3, 5, 7, 9], [35, 10, 10, 10, 35]))
    assert made == [(0, 4), (3, 5), (5, 6), (7, 7), (9, 8)]
    assert stream.drifts == [Drift(50, 30)]


def test_incremental_noise_of_led_rises_step_by_step():
    stream = incremental(
        lambda noise, seed: LED(noise=noise, irrelevant_features=False, seed=seed),
        [0.0, 0.1, 0.2, 0.3],
        position=3000,
        width=2000,
        n_samples=6000,
    )
    X, y = read_all(stream, 1024)
    inverted = (SEGMENTS[y] != X).mean(axis=1)
    shares = [inverted[a:b].mean() for a, b in ((0, 2000), (2000, 3000), (3000, 4000), (4000, 6000))]
    assert shares == pytest.approx([0.0, 0.1, 0.2, 0.3], abs=0.02)


def test_drifts_inside_the_concepts_are_placed_in_the_composition():
    inner = Counted(0, drifts=[Drift(40, 5), Drift(150, 5)])
    other = Counted(1, drifts=[Drift(20, 3), Drift(90, 3)])
    # The second concept starts at 100 with its own sample 0; the first one never gets to its sample 150.
    change = ConceptDrift(inner, other, position=100, width=10)
    assert change.drifts == [Drift(40, 5), Drift(100, 10), Drift(120, 3), Drift(190, 3)]
    assert ConceptDrift(inner, other, position=100, width=10, n_samples=120).drifts == change.drifts[:2]
    # 0 to 100 the first, 100 to 130 the other, then the first goes on with its sample 100.
    back = Switching([inner, other, inner], [100, 130])
    assert back.drifts == [Drift(40, 5), Drift(100), Drift(120, 3), Drift(130), Drift(180, 5)]


def test_drifts_of_nested_changes_are_those_of_the_samples():
    left = drifting([Counted(0), Counted(1), Counted(2)], [100, 200], 0)
    right = ConceptDrift(
        Counted(0), ConceptDrift(Counted(1), Counted(2), position=100, width=0), position=100, width=0
    )
    for stream in (left, right):
        assert [d.position for d in stream.drifts] == [100, 200]
        _, y = read_all(stream, 64, n=300)
        changes = np.flatnonzero(np.diff(y)) + 1
        assert np.abs(changes - [100, 200]).max() <= 2  # MOA counts each stream's samples from 1


def test_recurrent_drifts_are_listed_in_order():
    stream = RecurrentConceptDrift(
        Counted(0), Counted(1), position=100, width=10, duration=50, stable_period=30, n_appearances=2
    )
    assert stream.drifts == [Drift(100, 10), Drift(150, 10), Drift(180, 10), Drift(230, 10)]
    X, y = read_all(stream, 64, n=300)
    for concept in (0, 1):
        np.testing.assert_array_equal(X[y == concept, 0], np.arange((y == concept).sum()))
    assert y[115:135].all()
    assert not y[260:].any()


def test_concepts_must_share_features_and_classes():
    with pytest.raises(ValueError, match="concept 1 has 3 features and concept 0 has 24"):
        drifting([LED(), SEA()], [10], 1)
    with pytest.raises(ValueError, match=r"concept 1 has the feature .*'j'.* where concept 0 has .*'i'"):
        Switching([Counted(0), Counted(1, feature="j")], [10])
    with pytest.raises(ValueError, match=r"concept 1 has the classes \[0, 1\] and concept 0 has"):
        Switching([Counted(0), Counted(1, classes=range(2))], [10])


def test_class_that_turns_up_only_while_reading_is_refused():
    class Late(Counted):
        def reader(self):
            self.classes.append("new")
            return super().reader()

    stream = Switching([Counted(0), Late(1)], [5])
    with pytest.raises(ValueError, match="concept 1 shows a class or nominal value that was unknown"):
        read_all(stream, 10, n=10)


def test_fingerprint_tells_streams_apart_that_begin_alike():
    a, b, c = Counted(0), Counted(1), Counted(2)
    alike = [
        a,
        drifting([a, b], [5000], 10),
        drifting([a, b], [5000], 20),
        drifting([a, b], [6000], 20),
        drifting([a, b], [6000], 20, seed=2),
        drifting([a, c], [5000], 10),
        Switching([a, b], [5000]),
        Switching([a, b, a], [5000, 6000]),
        Switching([a, b, Counted(0)], [5000, 6000]),
        RecurrentConceptDrift(a, b, position=5000, width=10),
        RecurrentConceptDrift(a, b, position=5000, width=10, n_appearances=5),
    ]
    assert len({stream.fingerprint() for stream in alike}) == len(alike)
    assert STREAMS["led_g"](1, 2000).fingerprint() == STREAMS["led_g"](1, 2000).fingerprint()
    assert len({STREAMS[name](1, None).fingerprint() for name in STREAMS}) == len(STREAMS)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda a, b: drifting([a], [], 1), "1 concepts; give two or more"),
        (lambda a, b: drifting([a, b], [], 1), "0 given for 2 concepts"),
        (lambda a, b: drifting([a, b, a], [10, 10], 1), "choose rising positions"),
        (lambda a, b: drifting([a, b], [0], 1), "choose rising positions from 1 on"),
        (lambda a, b: drifting([a, b], [10], [1, 2]), "2 given for 1 positions"),
        (lambda a, b: drifting([a, b], [10], -1), "width=-1; choose both at least 0"),
        (lambda a, b: ConceptDrift(a, b, position=-1, width=1), "position=-1, width=1"),
        (lambda a, b: RecurrentConceptDrift(a, b, position=1, width=1, duration=0), "choose duration >= 1"),
        (lambda a, b: recurring([a, b], every=0, n_segments=2), "choose both at least 1"),
        (lambda a, b: incremental(lambda v, s: a, [1, 2], position=50, width=10), "2 values; give 3 or more"),
        (lambda a, b: incremental(lambda v, s: a, [1, 2, 3], position=5, width=10), "more than half a width"),
    ],
)
def test_wrong_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make(Counted(0), Counted(1))


def test_drifting_leds_differ_in_the_columns_that_drift():
    stream = drifting(
        [LEDDrift(n_drift_features=k, noise=0.0, seed=3) for k in (0, 7)], [1000], 0, n_samples=2000
    )
    X, y = read_all(stream, 2000)

    def tells_the_class(X, y, column):
        return all(len(np.unique(X[y == digit, column])) == 1 for digit in range(10))

    assert all(tells_the_class(X[:999], y[:999], c) for c in range(7))
    assert not any(tells_the_class(X[999:], y[999:], c) for c in range(7))
    assert all(tells_the_class(X[999:], y[999:], c) for c in range(7, 14))


def test_drifting_takes_two_hundred_concepts_and_refuses_more():
    concepts = [Counted(i % 10) for i in range(200)]
    stream = drifting(concepts, range(10, 2000, 10), 0, n_samples=2000)
    # At its position, counted from 1, a change of width 0 has been made.
    expected = np.minimum(np.arange(1, 2001) // 10, 199) % 10
    np.testing.assert_array_equal(read_all(stream, 300)[1], expected)
    assert stream.fingerprint()
    with pytest.raises(ValueError, match="201 concepts; give at most 200"):
        drifting([*concepts, Counted(0)], range(10, 2010, 10), 0)


@pytest.mark.parametrize("widths", [np.int64(5), np.array([5, 5]), [np.int32(5)] * 2])
def test_numbers_of_numpy_are_as_good_as_pythons(widths):
    concepts = [Counted(i) for i in range(3)]
    ours, plain = (
        drifting(concepts, np.array([40, 80]), widths, n_samples=120),
        drifting(concepts, [40, 80], 5),
    )
    assert_same(read_all(ours, 50), read_all(plain, 50, 120))
    assert ours.fingerprint() == drifting(concepts, [40, 80], 5, n_samples=120).fingerprint()


@pytest.mark.parametrize(
    "make",
    [
        lambda concepts, **seed: ConceptDrift(*concepts, position=50, width=60, **seed),
        lambda concepts, **seed: RecurrentConceptDrift(*concepts, position=50, width=60, **seed),
        lambda concepts, **seed: drifting(concepts, [50], 60, **seed),
        lambda _, **seed: incremental(
            lambda noise, seed: LED(noise=noise, seed=seed), [0.0, 0.1, 0.2], position=50, width=60, **seed
        ),
    ],
)
def test_seed_none_is_the_default_seed(make):
    concepts = [Counted(0), Counted(1)]
    assert_same(read_all(make(concepts, seed=None), 99, 99), read_all(make(concepts), 99, 99))


@pytest.mark.parametrize(
    "make",
    [
        lambda *concepts: ConceptDrift(*concepts, position=50.5, width=0),
        lambda *concepts: RecurrentConceptDrift(*concepts, position=50.5, width=0),
        lambda *concepts: drifting(concepts, [50.5], 0),
        lambda *concepts: Switching(concepts, [50.5]),
    ],
)
def test_fraction_of_a_sample_is_refused(make):
    with pytest.raises(ValueError, match=r"position=50\.5; choose a whole number of samples"):
        make(Counted(0), Counted(1))


@pytest.mark.parametrize("name", ["mixed_a", "recurrent_led", "recurrent_rbf"])
def test_seeds_of_the_concepts_go_on_after_the_greatest(name):
    concepts = STREAMS[name](2**31 - 1, 100).concepts
    while hasattr(concepts[0], "concepts"):
        concepts = concepts[0].concepts
    assert [concept.seed for concept in concepts] == [2**31 - 1, -(2**31)]
    with pytest.raises(ValueError, match=f"seed={2**31}"):
        STREAMS[name](2**31, 100)


def test_the_imbalanced_stream_takes_rows_of_the_balanced_one_in_their_order():
    rows = list(STREAMS["rbf_imbalanced"](3, 2000))
    assert len(rows) == 2000
    assert 60 < sum(y for _, y in rows) < 140
    beneath = iter(STREAMS["rbf_m"](3, 20_000))
    assert all(row in beneath for row in rows)  # `in` goes on where it found the row before


def test_fingerprint_tells_lengths_apart():
    assert SEA(seed=1, n_samples=2000).fingerprint() != SEA(seed=1, n_samples=5000).fingerprint()


def test_description_is_a_sentence_about_the_concepts():
    first = "Three numbers in [0, 10), of which the first two decide: class 1 where their sum is above a threshold."
    assert SEA().desc == first
    assert STREAMS["sea_a"](1, 2000).desc == f"Changing concepts of SEA: {first}"
    assert first in repr(STREAMS["sea_a"](1, 2000))
