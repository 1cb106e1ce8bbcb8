"""Figures of blocks, over all samples and over the last ones, beside a twin that counts each sample anew."""

from __future__ import annotations

import copy
import random
from operator import eq

import numpy as np
import pytest
from reference import scores as slow

from driftmoe.markov import Succession
from driftmoe.metrics import Scores

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


def test_the_majority_is_that_of_labels_one_by_one_after_weights_were_whole_and_after_they_were_not():
    rng = np.random.default_rng(4)
    for parts in ([None, None], [np.ones(90), None], [None, rng.random(90)], [rng.random(90), None]):
        one, many, hits = Scores(50)._kappa_m, Scores(50)._kappa_m, [0.0, 0.0]
        for weights in parts:
            labels = rng.choice(30, 90).tolist()
            of_each = [1.0] * 90 if weights is None else weights.tolist()
            hits[0] += sum(w * (one._baseline(t, w) == t) for t, w in zip(labels, of_each, strict=True))
            hits[1] += many.baseline_hits(labels, weights)
        assert hits[1] == pytest.approx(hits[0], rel=1e-12)
        assert many.state()["recent"] == one.state()["recent"]
        np.testing.assert_allclose(many.state()["counts"], one.state()["counts"], atol=1e-12)
