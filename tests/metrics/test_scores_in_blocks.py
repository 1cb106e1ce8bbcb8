"""Figures of blocks, over all samples and over the last ones, beside a twin that counts each sample anew."""

from __future__ import annotations

import copy
import functools
import random
from collections import deque
from operator import eq

import numpy as np
import pytest
import river.metrics
from reference import scores as slow

from driftmoe.markov import Succession
from driftmoe.metrics import AnsweredConfusionMatrix, GMean, KappaM, KappaOrder, Scores, macro_f1

LABELS = {"two": ["no", "yes"], "some": [0, "a", (1, 2), True, 2.5], "many": list(range(40))}


def samples_of(name, n, rng, weighted):
    """Labels that often repeat and of which one is the most frequent, and predictions of which some are none."""
    labels, found = LABELS[name], []
    for _ in range(n):
        label = found[-1][0] if found and rng.random() < 0.3 else rng.choice([*labels, labels[-1]])
        said = label if rng.random() < 0.5 else rng.choice([*labels, None, "never true"])
        found.append((label, said, rng.choice([0.25, 1.0, 3.5]) if weighted else 1.0))
    return found


def add(scores, some, weighted):
    """Add samples in blocks, of one sample and of many."""
    true, said, weights = zip(*some, strict=True)
    scores.update_many(true, said, weights if weighted else None)


def again(state, *arguments):
    """Return scores in a state, of all samples and of the last ones, as an evaluation that goes on has them."""
    total = Scores(None, arguments[1])
    last = total.over_last(arguments[0], arguments[2])
    total.restore(state[0])
    last.restore(state[1])
    return total, last


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("name", "window", "step", "knows"),
    [("two", 40, 40, True), ("some", 60, 20, False), ("many", 30, 15, False)],
)
def test_figures_of_blocks_are_those_of_samples_that_are_counted_anew(name, window, step, knows, weighted):
    rng = random.Random(f"{name}{weighted}")
    samples, classes = samples_of(name, 220, rng, weighted), LABELS[name] if knows else []
    total, alone = Scores(None, classes), Scores(window, classes, step)
    last, n, begin = total.over_last(window, step), 0, 5
    for label, _, w in samples[:begin]:  # these do not count
        total.pass_over(label, w)
        alone.pass_over(label, w)
    n, starts = begin, [begin] * (window // step)
    while n < len(samples):
        end = min(n + rng.choice([1, 2, step]), starts[-1] + step, len(samples))
        add(total, samples[n:end], weighted)
        add(alone, samples[n:end], weighted)
        n = end
        if n - starts[-1] < step:
            continue
        if rng.random() < 0.4:
            kept = copy.deepcopy([total.state(), last.state()])
            total, last = again(kept, window, classes, step)
            assert [total.state(), last.state()] == kept
        of_last = slow.figures(samples[:n], range(starts[0], n), window, classes)
        assert repr(last.get()) == repr(alone.get()) == repr(of_last)
        assert repr(total.get()) == repr(slow.figures(samples[:n], range(begin, n), None, classes))
        assert last.state() == alone.state()
        last.restart()
        alone.restart()
        starts = [*starts, n][1:]


@pytest.mark.parametrize("max_pairs", [4, 30, 10_000])
@pytest.mark.parametrize("order", [0, 1, 2])
def test_labels_that_are_said_are_counted_as_they_are_said(order, max_pairs):
    rng = random.Random(max_pairs)
    labels = [rng.choice([1, True, 1.0, "b", "c", rng.randrange(20)]) for _ in range(400)]
    counted, said = Succession(order, max_pairs), Succession(order, max_pairs)
    n = 0
    while n < len(labels):
        some = labels[n : n + rng.choice([1, 7, 90])]
        n += len(some)
        assert counted.n_right(some) == sum(map(eq, said.follow(some, [1.0] * len(some)), some))
        assert repr(counted.state()) == repr(said.state())
        assert counted.n_pairs == said.n_pairs
        if rng.random() < 0.2:  # a weight that is none
            counted.learn("b", 0.5)
            said.learn("b", 0.5)
        if rng.random() < 0.2:
            counted.restore(copy.deepcopy(counted.state()))


@pytest.mark.parametrize("weights", [None, [0.1, 0.7, 1e-9, 3.0]])
def test_sums_are_those_of_a_matrix_that_is_updated_pair_by_pair_to_the_last_bit(weights):
    rng, total = random.Random(3), Scores()
    last = total.over_last(60, 20)
    for _ in range(12):
        true, said = ([rng.choice([0, 1, 2, None]) for _ in range(20)] for _ in range(2))
        total.update_many(true, said, weights and rng.choices(weights, k=20))
        for scores in (total, last):
            confusion = river.metrics.ConfusionMatrix()
            for step in scores._steps:
                for (t, p), w in step.pairs.items():
                    confusion.update(t, p, w)
            confusion.n_samples = confusion.total_weight
            found = (
                river.metrics.Accuracy(confusion).get(),
                river.metrics.CohenKappa(confusion).get(),
                macro_f1(confusion),
            )
            assert repr(tuple(scores.get()[name] for name in ("accuracy", "kappa", "f1_macro"))) == repr(
                found
            )
            assert scores.get()["g_mean"] == GMean(confusion).get()
        last.restart()


def test_the_majority_is_that_of_labels_one_by_one_after_weights_were_whole_and_after_they_were_not():
    rng = np.random.default_rng(4)
    for parts in ([None, None], [np.ones(90), None], [None, rng.random(90)], [rng.random(90), None]):
        one, many, hits = Scores(50)._kappa_m, Scores(50)._kappa_m, [0.0, 0.0]
        for weights in parts:
            labels = rng.choice(30, 90).tolist()
            of_each = [1.0] * 90 if weights is None else weights.tolist()
            hits[0] += sum(w * (one._baseline(t, w) == t) for t, w in zip(labels, of_each, strict=True))
            hits[1] += many.baseline_hits(labels, weights)
            restored = Scores(50)._kappa_m
            restored.restore(many.state())
            many = copy.deepcopy(restored)
        assert many.state()["recent"] == one.state()["recent"]
        if all(weights is None for weights in parts):
            assert hits[1] == hits[0]
            assert many.state() == one.state()
        assert hits[1] == pytest.approx(hits[0], rel=1e-12)
        np.testing.assert_allclose(many.state()["counts"], one.state()["counts"], atol=1e-12)


def test_counts_that_are_no_whole_numbers_are_summed_label_by_label_after_they_are_restored():
    whole = Scores()._kappa_m
    whole.baseline_hits(["a", "a", "a", "b"], np.array([0.1, 0.2, 0.3, 0.6]))
    restored = Scores()._kappa_m
    restored.restore(whole.state())
    for metric in (whole, restored):
        assert not metric._is_plain
        labels = ["b", "a"] * 300
        one = copy.deepcopy(metric)
        assert metric.baseline_hits(labels) == sum(one._baseline(label) == label for label in labels)
        assert metric.state() == one.state()


def test_what_an_error_or_an_interrupt_cuts_short_goes_on_from_its_counts():
    alone = Succession()
    alone.n_right(list("ababab"))
    with pytest.raises(TypeError, match="unhashable"):
        alone.n_right(["a", "b", "a", "b", [], "a"])
    for after in alone._followers.values():
        assert after.most == max(after.counts.values()) == after.counts[after.best]
    scores = Scores()
    scores.update_many("abcabc", "abbabc")
    for n_kept in range(3):  # an interrupt while the places of the pairs are written
        whole, cut = copy.deepcopy(scores), copy.deepcopy(scores)
        cut.get()
        step = cut._steps[-1]
        for places in (step._true, step._said, step._is_right)[n_kept:]:
            del places[1:]
        assert cut.get() == whole.get()


@pytest.mark.parametrize("w", [-1.0, float("nan")])
def test_weights_that_take_back_samples_are_refused_before_they_count(w):
    scores = Scores()
    for call in (
        lambda: scores.update_many("ab", "ab", [1.0, w]),
        lambda: scores.update("a", "a", w),
        lambda: KappaM().update("a", "a", w),
        lambda: KappaOrder().pass_over("a", w),
    ):
        with pytest.raises(ValueError, match=f"w={w}; give a weight of 0 or more"):
            call()
    assert scores.state() == Scores().state()


def test_a_window_longer_than_any_list_holds_all():
    metric = KappaM(2**70)
    metric.update("a", "a")
    assert metric.get() == 0.0


@functools.total_ordering
class Salted:
    """A label whose place in a set depends on the process, as that of a text does."""

    def __init__(self, number, salt):
        self.number, self.salt = number, salt

    def __hash__(self):
        return hash((self.salt, self.number))

    def __eq__(self, other):
        return isinstance(other, Salted) and self.number == other.number

    def __lt__(self, other):
        return self.number < other.number


def test_figures_do_not_depend_on_the_order_of_a_set():
    told = set()
    for salt in range(6):
        scores, mean = Scores(), river.metrics.MacroF1(AnsweredConfusionMatrix())
        for i in range(600):
            pair = Salted(i * i % 37, salt), Salted(i * 7 % 41, salt)
            scores.update(*pair)
            mean.update(*pair)
        told.add(repr((scores.get(), mean.get())))
    assert len(told) == 1


def test_figures_that_an_earlier_version_kept_are_gone_on_with():
    """It kept neither the places of pairs nor what is found faster by them."""
    scores = Scores(4, [], 2)
    scores.update_many("aab", "abb")
    for part, names in (
        (scores, ("_ranks", "_beside")),
        (scores._kappa_m, ("_is_plain",)),
        (scores._kappa_o._succession, ("_of_one",)),
        (scores._steps[-1], ("_true", "_said", "_is_right")),
    ):
        for name in names:
            vars(part).pop(name)
    scores._kappa_m._recent = deque(scores._kappa_m._recent)  # without a length
    again, anew = copy.deepcopy(scores), Scores(4, [], 2)
    anew.update_many("aab", "abb")
    for one in (again, anew):
        one.update_many("abab", "bbab")
    assert (again.get(), again.state()) == (anew.get(), anew.state())
