"""Experts of other kinds than trees: the nearest samples of the past, and the label's own history.

Both answer like a pool of experts: `predict_proba(inputs, n_classes)` changes nothing, and `step` predicts, then
learns, row by row. They see the router's inputs, or nothing of a sample, take bounded memory, and give each of their
votes as an expert of its own.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from driftmoe.arithmetic import exp
from driftmoe.compilation import compiled, part
from driftmoe.transaction import (
    NO_TARGETS,
    NO_WEIGHTS,
    Changes,
    Planned,
    assignment,
    planned,
    publication,
)

SMOOTHING = 0.1
"""Weight of the uniform vote beside that of the nearest neighbour, which is 1."""

NEGLIGIBLE = 1e-6
"""Squared distances below this count alike, so that a copy of the sample does not outvote everything."""

N_EPISODES = 32
"""Parts of the past whose likeness to the present is followed one by one."""

SPAN = 10
"""Episodes of equal density: with one more, the two oldest of them become one of half the density."""

RECORD_FADING = 0.95
"""What is left, after a sample, of the memory of how well an episode has done: about the last 20."""

VOTES = ((0.0, 0.0003), (0.0, 0.002), (0.0, 0.016), (8.0, 0.0))
"""Likeness and rate of each vote; see `Neighbours`."""

SETTLING = 500
"""Samples before features are scaled by their relevance."""

RENEWAL = 100
"""Samples between two looks at the relevance of the features."""

CLASS_FADING = 0.9995
"""What is left of the weight of a sample in the means of the classes with each later one."""

MAX_HISTORY = 256
"""Classes whose order is remembered, those that came first: the memory for it grows with their square."""

FORGETTING = 0.998
"""What is left of the weight of a pair of labels when the first of them comes again."""

EPISODE = np.dtype(
    [
        # Samples that it holds.
        ("size", np.int64),
        # How often it has been thinned: it stands for 2^level times as many samples.
        ("level", np.int64),
        # Faded share of the samples of late whose label was that of the nearest sample in this episode.
        ("record", np.float64),
    ],
    align=True,
)


class Neighbours(Planned):
    """The nearest samples of the past, near in their features, in time, and in what the time was like.

    The past is kept as episodes of consecutive samples, the newest complete. When more than a few episodes are equally
    dense, the two oldest of them become one, each giving every second sample: so far back, so thin, in bounded memory;
    what is older than all episodes is forgotten. For each sample whose label is known, every episode is asked for its
    own nearest sample, and a faded record is kept of how often that one had the right label. An episode of another
    concept has a bad record, until the concept returns.

    Each pair of `votes` is an expert of its own: the `k` nearest vote for their labels, with weights inverse to their
    squared distance, ``|x - x'|² exp(likeness · (best record - record)) + (rate · age)²``. With both 0 all the past
    counts alike; a large likeness leaves the episodes that do as well as the best; a large rate leaves the last few
    samples alone, and between lies the one that follows a concept as fast as it moves.

    Parameters
    ----------
    capacity
        Samples remembered at most, a multiple of 64: 32 episodes that can be halved. They take 4 bytes an input each,
        and 20 more.
    k
        Neighbours that vote.
    votes
        (likeness, rate) of each; `rate` is in deviations of a feature per sample. 0 or more.
    by_relevance
        Whether a feature counts by how far the means of the classes lie apart in it, of late (the variance between
        classes), rather than all alike. Where classes differ in something else than their means, it cannot tell.

    Raises
    ------
    ValueError
        If the episodes cannot share the capacity.

    References
    ----------
    Cover & Hart 1967, Nearest neighbor pattern classification; Dudani 1976 for votes weighted by distance. Losing,
    Hammer & Wersing 2016, KNN classifier with self adjusting memory, for a long-term memory beside the window; there
    it is cleaned of what contradicts the present, here that is only out of favour, so that it can return. Bousquet &
    Warmuth 2002, Tracking a small set of experts by mixing past posteriors, for the idea that what was good once will
    be good again. Datar et al. 2002 for exponential histograms, the way in which old episodes get thin.
    """

    reads = "inputs"

    def __init__(
        self,
        capacity: int = 4096,
        k: int = 4,
        votes: Sequence[tuple[float, float]] = VOTES,
        *,
        by_relevance: bool = False,
    ) -> None:
        if capacity < 2 * N_EPISODES or capacity % (2 * N_EPISODES):
            raise ValueError(
                f"capacity={capacity}; choose a multiple of {2 * N_EPISODES}: {N_EPISODES} episodes that can be halved"
            )
        self._k = k
        self._votes = np.array(votes, np.float64)
        size = capacity // N_EPISODES
        self._points = np.zeros(
            (N_EPISODES, 0, size), np.float32
        )  # of an input all samples, one beside the other
        self._targets = np.zeros((N_EPISODES, size), np.int64)
        self._times = np.zeros((N_EPISODES, size), np.int64)
        self._weights = np.zeros((N_EPISODES, size), np.float32)
        self._episodes = np.zeros(N_EPISODES, EPISODE)
        self._order = np.arange(N_EPISODES)  # the episodes in use, the oldest first, then the others
        self._counts = np.zeros(2, np.int64)  # episodes in use, samples seen
        self._by_relevance = by_relevance
        self._scales = np.ones(0, np.float32)  # of the squared difference in each input
        self._class_counts = np.zeros(0)
        self._means = np.zeros((0, 0))

    @property
    def n_experts(self) -> int:
        """Votes that it gives."""
        return len(self._votes)

    @property
    def marks(self) -> list[str]:
        """What tells its votes apart: their rates, or that they look for times like the present."""
        return [f"({rate:g})" if likeness == 0.0 else "(like now)" for likeness, rate in self._votes]

    def predict_proba(self, inputs: np.ndarray, n_classes: int) -> np.ndarray:
        """Return the votes on some samples; changes nothing.

        Returns
        -------
        expert_proba
            Shape (n_rows, n_experts, n_classes); zeros before anything is learnt.
        """
        part = self._grown(inputs.shape[1], n_classes)
        proba = np.zeros((len(inputs), len(self._votes), n_classes))
        nearest(*part._call(inputs, NO_TARGETS, NO_WEIGHTS, np.ones(len(inputs), np.bool_), proba))
        return proba

    def plan(
        self,
        inputs: np.ndarray,
        targets: np.ndarray,
        taught: np.ndarray,
        n_classes: int,
        asked: np.ndarray,
        *,
        changes: Changes,
    ) -> np.ndarray:
        """Plan, for each row in order, to predict where asked, then to remember it.

        Parameters
        ----------
        inputs
            What the router reads of the samples: float32, shape (n_rows, n_inputs).
        targets
            Class indices, shape (n_rows,).
        taught
            Weight of each row, above 0, with which it votes as a neighbour, shape (n_rows,).
        n_classes
            Classes known so far.
        asked
            bool, shape (n_rows,); rows that are not get zeros, change no record, and cost next to nothing.
        changes
            Gets what is left to do.

        Returns
        -------
        expert_proba
            As of `predict_proba`; written by the changes.
        """
        part = self._grown(inputs.shape[1], n_classes)
        if part is not self:
            changes.append(publication(self, part))
        proba = np.zeros((len(inputs), len(self._votes), n_classes))
        changes.append(planned(nearest, *part._call(inputs, targets, taught, asked, proba)))
        return proba

    def _call(
        self,
        inputs: np.ndarray,
        targets: np.ndarray,
        taught: np.ndarray,
        asked: np.ndarray,
        proba: np.ndarray,
    ) -> tuple[Any, ...]:
        """Return what `nearest` takes."""
        return (
            self._points, self._targets, self._times, self._weights, self._episodes, self._order, self._counts, inputs,
            targets, taught, asked, self._votes, self._k, self._scales, self._class_counts, self._means, proba,
        )  # fmt: skip

    def _grown(self, n_inputs: int, n_classes: int) -> Neighbours:
        """Return one that knows so many inputs and classes, this one if it does; this one stays as it is.

        New inputs were 0 so far, as missing values are.
        """
        n_old, n_classes = len(self._scales), n_classes * self._by_relevance
        if n_inputs == n_old and n_classes == len(self._class_counts):
            return self
        grown = copy.copy(self)
        if n_inputs > self._points.shape[1]:  # with room for a few more, lest each new input copies all
            room = n_inputs if n_old == 0 else n_inputs + n_inputs // 4
            grown._points = _enlarged(self._points, (N_EPISODES, room, self._points.shape[2]))
        grown._scales = np.concatenate([self._scales, np.ones(n_inputs - n_old, np.float32)])
        grown._class_counts = _enlarged(self._class_counts, (n_classes,))
        grown._means = _enlarged(self._means, (n_classes, n_inputs))
        return grown


class LabelHistory(Planned):
    """What follows the last label: the probability of a label given the one before, forgetting slowly.

    It sees nothing of a sample. Where labels come in runs, as in many real streams, it is hard to beat; where the last
    label is not known yet when the next sample must be predicted, it must not be used.

    References
    ----------
    Žliobaitė, Bifet, Read, Pfahringer & Holmes 2015, Evaluation methods and decision theory for classification of
    streaming data with temporal dependence, whose temporally augmented classifier feeds the last label to a model.
    """

    n_experts = 1
    reads = "inputs"

    def __init__(self) -> None:
        self._pairs = np.zeros((0, 0))
        self._last = np.full(1, -1)

    def predict_proba(self, inputs: np.ndarray, n_classes: int) -> np.ndarray:
        """Return the vote on some samples, shape (n_rows, 1, n_classes); changes nothing."""
        proba = np.zeros((1, n_classes))
        follow(self._pairs, self._last, NO_TARGETS, NO_WEIGHTS, proba)
        return np.repeat(proba[:, np.newaxis], len(inputs), axis=0)

    def plan(
        self,
        inputs: np.ndarray,
        targets: np.ndarray,
        taught: np.ndarray,
        n_classes: int,
        asked: np.ndarray | None = None,
        *,
        changes: Changes,
    ) -> np.ndarray:
        """Plan, for each row in order, to predict, then to count its label; as `Neighbours.plan`, but always asked."""
        n_known = min(n_classes, MAX_HISTORY)
        pairs = _enlarged(self._pairs, (n_known, n_known))
        if pairs is not self._pairs:
            changes.append(assignment(self, _pairs=pairs))
        proba = np.zeros((len(targets), n_classes))
        changes.append(planned(follow, pairs, self._last, targets, taught, proba))
        return proba[:, np.newaxis]


# No number here is NaN, and 0 has no sign: a least one may be looked for by lanes, which gives the same one.
@compiled(fastmath={"nnan", "nsz"})
def nearest(  # type: ignore[no-untyped-def]
    points,
    labels,
    times,
    weights,
    episodes,
    order,
    counts,
    inputs,
    targets,
    taught,
    asked,
    votes,
    k,
    scales,
    class_counts,
    means,
    proba,
):
    """Write the votes of the nearest neighbours of each row, then remember the row.

    Parameters
    ----------
    points
        What is remembered, float32, shape (n_episodes, n_inputs or more, size).
    labels, times
        Target of each of these samples, and how many came before it, shape (n_episodes, size).
    weights
        With which each of them votes, float32, same shape.
    episodes
        EPISODE, shape (n_episodes,).
    order
        The episodes in use, the oldest first, then the others; shape (n_episodes,).
    counts
        Number of episodes in use, and of samples learnt.
    inputs
        float32, finite, shape (n_rows, n_inputs).
    targets
        Shape (n_rows,), or empty to learn nothing.
    taught
        Weight of each row, shape (n_rows,).
    asked
        bool, shape (n_rows,).
    votes
        Likeness and rate of each vote, shape (n_experts, 2).
    k
        Neighbours that vote.
    scales
        How much the squared difference in each input counts, float32, shape (n_inputs,).
    class_counts, means
        Faded number of samples of each class, (n_classes,), and their mean, (n_classes, n_inputs), from which `scales`
        are renewed; no classes to leave them.
    proba
        Result, shape (n_rows, n_experts, n_classes), zeros to begin with.
    """
    n_episodes, n_inputs, size = points.shape[0], inputs.shape[1], points.shape[2]
    squares = np.empty((n_episodes, size), np.float32)
    least = np.empty(n_episodes, np.float32)
    label_of_least = np.empty(n_episodes, np.int64)
    near = np.empty(k, np.float32)
    near_label = np.empty(k, np.int64)
    near_weight = np.empty(k, np.float32)
    for row in range(inputs.shape[0]):
        n, now = counts[0], counts[1]
        if asked[row] and n > 0:
            best = 0.0
            for i in range(n):
                e = order[i]
                m = episodes[e]["size"]
                of_episode = squares[e, :m]
                of_episode[:] = np.float32(0.0)
                for f in range(n_inputs):
                    value, scale = inputs[row, f], scales[f]
                    remembered = points[e, f]
                    for j in range(m):
                        difference = remembered[j] - value
                        of_episode[j] += scale * difference * difference
                smallest = of_episode[0]
                for j in range(1, m):
                    smallest = min(smallest, of_episode[j])
                j = 0
                while of_episode[j] != smallest:
                    j += 1
                least[e], label_of_least[e] = smallest, labels[e, j]
                best = max(best, episodes[e]["record"])
            for v in range(votes.shape[0]):
                likeness, rate = votes[v, 0], votes[v, 1]
                found = 0
                for i in range(n - 1, -1, -1):
                    e = order[i]
                    m = episodes[e]["size"]
                    factor = np.float32(exp(likeness * (best - episodes[e]["record"])))
                    moved = rate * (now - 1 - times[e, m - 1])
                    if found == k and least[e] * factor + np.float32(moved * moved) >= near[k - 1]:
                        continue  # none in it can be among the nearest
                    for j in range(m - 1, -1, -1):
                        moved = rate * (now - 1 - times[e, j])
                        square = squares[e, j] * factor + np.float32(moved * moved)
                        if found < k or square < near[found - 1]:
                            place = found if found < k else k - 1
                            found = min(found + 1, k)
                            while place > 0 and near[place - 1] > square:
                                near[place] = near[place - 1]
                                near_label[place] = near_label[place - 1]
                                near_weight[place] = near_weight[place - 1]
                                place -= 1
                            near[place] = square
                            near_label[place] = labels[e, j]
                            near_weight[place] = weights[e, j]
                total = SMOOTHING
                for c in range(proba.shape[2]):
                    proba[row, v, c] = SMOOTHING / proba.shape[2]
                for place in range(found):
                    weight = near_weight[place] * max(near[0], NEGLIGIBLE) / max(near[place], NEGLIGIBLE)
                    proba[row, v, near_label[place]] += weight
                    total += weight
                for c in range(proba.shape[2]):
                    proba[row, v, c] /= total
        if targets.shape[0] == 0:
            continue
        target = targets[row]
        if asked[row]:
            for i in range(n):
                e = order[i]
                is_right = 1.0 if label_of_least[e] == target else 0.0
                episodes[e]["record"] += (1.0 - RECORD_FADING) * (is_right - episodes[e]["record"])
        if n == 0 or episodes[order[n - 1]]["size"] == size:
            n = begin_episode(points, labels, times, weights, episodes, order, n)
            counts[0] = n
        e = order[n - 1]
        j = episodes[e]["size"]
        points[e, :n_inputs, j] = inputs[row]
        labels[e, j], times[e, j], weights[e, j] = target, now, taught[row]
        episodes[e]["size"] += 1
        counts[1] += 1
        if class_counts.shape[0] > 0:
            class_counts *= CLASS_FADING
            class_counts[target] += taught[row]
            share = taught[row] / class_counts[target]
            for f in range(n_inputs):
                means[target, f] += share * (inputs[row, f] - means[target, f])
            if now + 1 >= SETTLING and (now + 1) % RENEWAL == 0:
                renew(scales, class_counts, means)


@part()
def begin_episode(points, labels, times, weights, episodes, order, n):  # type: ignore[no-untyped-def]
    """Put an empty episode behind the others, which become thinner first; return how many there are then.

    Of each density there are at most `SPAN` episodes, and the newest: with one more, the two oldest of them become one.
    Where no place is left all the same, the oldest of all is forgotten.
    """
    half = points.shape[2] // 2
    n_alike = 0
    i = n - 1
    while i >= 0:  # from the newest on, which is the densest
        is_other = n_alike > 0 and episodes[order[i]]["level"] != episodes[order[i + 1]]["level"]
        n_alike = 1 if is_other else n_alike + 1
        is_oldest = i == 0 or episodes[order[i - 1]]["level"] != episodes[order[i]]["level"]
        if is_oldest and n_alike > SPAN:
            first, second = order[i], order[i + 1]
            for j in range(half):
                points[first, :, j] = points[first, :, 2 * j]
                labels[first, j], times[first, j] = labels[first, 2 * j], times[first, 2 * j]
                weights[first, j] = weights[first, 2 * j]
            for j in range(half):
                points[first, :, half + j] = points[second, :, 2 * j]
                labels[first, half + j], times[first, half + j] = labels[second, 2 * j], times[second, 2 * j]
                weights[first, half + j] = weights[second, 2 * j]
            episodes[first]["size"] = 2 * half
            episodes[first]["level"] += 1
            episodes[first]["record"] = 0.5 * (episodes[first]["record"] + episodes[second]["record"])
            free_place(order, i + 1, n)
            n -= 1
            n_alike = 0
            i += 1  # it may be one too many of its new density
        i -= 1
    if n == order.shape[0]:
        free_place(order, 0, n)
        n -= 1
    e = order[n]
    episodes[e]["record"] = episodes[order[n - 1]]["record"] if n > 0 else 0.0
    episodes[e]["size"] = episodes[e]["level"] = 0
    return n + 1


@part()
def free_place(order, i, n):  # type: ignore[no-untyped-def]
    """Put an episode behind those in use."""
    freed = order[i]
    for place in range(i, n - 1):
        order[place] = order[place + 1]
    order[n - 1] = freed


@part()
def renew(scales, counts, means):  # type: ignore[no-untyped-def]
    """Scale each input by the variance of the classes' means in it; the mean of all scales is 1."""
    n_classes, n_inputs = means.shape
    total = counts.sum()
    between = np.zeros(n_inputs)
    for f in range(n_inputs):
        mean = 0.0
        for c in range(n_classes):
            mean += counts[c] / total * means[c, f]
        for c in range(n_classes):
            between[f] += counts[c] / total * (means[c, f] - mean) * (means[c, f] - mean)
    mean = between.mean()
    for f in range(n_inputs):
        scales[f] = between[f] / mean if mean > 0.0 else 1.0


@compiled()
def follow(pairs, last, targets, taught, proba):  # type: ignore[no-untyped-def]
    """Write the probability of each label to follow the one before, then count each pair.

    Parameters
    ----------
    pairs
        Faded number of times that the second label followed the first, shape (n_known, n_known).
    last
        The label before the first row, shape (1,); -1 for none. Afterwards that of the last row.
    targets
        Labels, shape (n_rows,), or empty to count nothing and write one row.
    taught
        What each row counts, shape (n_rows,).
    proba
        Result, shape (n_rows, n_classes), zeros to begin with; they stay where the label before is not remembered.
    """
    n_known = pairs.shape[0]
    for row in range(proba.shape[0]):
        before = last[0]
        if 0 <= before < n_known:
            total = SMOOTHING
            for c in range(n_known):
                total += pairs[before, c]
            for c in range(proba.shape[1]):
                seen = pairs[before, c] if c < n_known else 0.0
                proba[row, c] = (seen + SMOOTHING / proba.shape[1]) / total
        if targets.shape[0] > 0:
            target = targets[row]
            if 0 <= before < n_known and target < n_known:
                for c in range(n_known):
                    pairs[before, c] *= FORGETTING
                pairs[before, target] += taught[row]
            last[0] = target


def _enlarged(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the array with this shape, zeros where there was nothing."""
    if array.shape == shape:
        return array
    larger = np.zeros(shape, array.dtype)
    larger[tuple(map(slice, array.shape))] = array
    return larger
