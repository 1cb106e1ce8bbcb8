"""Experts of other kinds than trees: the nearest of the last samples, and the label's own history.

Both answer like a pool of experts: `predict_proba(inputs, n_classes)` changes nothing, and `step` predicts, then
learns, row by row. They see the router's inputs, or nothing of a sample, take bounded memory, and give each of their
votes as an expert of its own.
"""

from __future__ import annotations

import numpy as np

from driftmoe.compilation import compiled, part

SMOOTHING = 0.1
"""Weight of the uniform vote beside that of the nearest neighbour, which is 1."""

NEGLIGIBLE = 1e-6
"""Squared distances below this count alike, so that a copy of the sample does not outvote everything."""

PART = 512
"""Neighbours whose distances are summed up together: so many fit the processor's nearest memory."""

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


class Neighbours:
    """The nearest of the last samples, near in their features and in time.

    A neighbour that is `age` samples old lies at the squared distance ``|x - x'|² + (rate · age)²``. Each rate is an
    expert of its own: a small one knows all of the window, a large one the last few samples alone, and between
    them lies the one that follows a concept as fast as it moves. The `k` nearest vote for their labels, with weights
    inverse to their squared distance.

    Parameters
    ----------
    window
        Samples remembered, at least 1.
    k
        Neighbours that vote.
    rates
        Distance that a sample moves away with each later one, in deviations of a feature; ascending, 0 or more.
    by_relevance
        Whether a feature counts by how far the means of the classes lie apart in it, of late, rather than all alike.

    References
    ----------
    Cover & Hart 1967, Nearest neighbor pattern classification; Dudani 1976 for votes weighted by distance. Losing,
    Hammer & Wersing 2016, KNN classifier with self adjusting memory, for streams, where windows of several lengths
    play the part of the rates.
    """

    def __init__(
        self,
        window: int = 2000,
        k: int = 4,
        rates: tuple[float, ...] = (0.0003, 0.002, 0.016),
        *,
        by_relevance: bool = False,
    ) -> None:
        self._k = k
        self._rates = np.array(rates)
        self._points = np.zeros((0, window), np.float32)  # of an input all samples, one beside the other
        self._targets = np.zeros(window, np.int64)
        self._n_seen = 0
        self._by_relevance = by_relevance
        self._scales = np.ones(0, np.float32)  # of the squared difference in each input
        self._counts = np.zeros(0)
        self._means = np.zeros((0, 0))

    @property
    def n_experts(self) -> int:
        """Votes that it gives."""
        return len(self._rates)

    @property
    def marks(self) -> list[str]:
        """What tells its votes apart: their rates."""
        return [f"({rate:g})" for rate in self._rates]

    def predict_proba(self, inputs: np.ndarray, n_classes: int) -> np.ndarray:
        """Return the votes on some samples; changes nothing.

        Returns
        -------
        expert_proba
            Shape (n_rows, n_experts, n_classes); zeros before anything is learnt.
        """
        return self._run(inputs, _NO_TARGETS, np.ones(len(inputs), np.bool_), n_classes)

    def step(
        self, inputs: np.ndarray, targets: np.ndarray, taught: None, n_classes: int, asked: np.ndarray
    ) -> np.ndarray:
        """For each row in order, predict where asked, then remember it.

        Parameters
        ----------
        inputs
            What the router reads of the samples: float32, shape (n_rows, n_inputs).
        targets
            Class indices, shape (n_rows,).
        taught
            It remembers all rows.
        n_classes
            Classes known so far.
        asked
            bool, shape (n_rows,); rows that are not get zeros, and cost next to nothing.
        """
        proba = self._run(inputs, targets, asked, n_classes)
        self._n_seen += len(targets)
        return proba

    def _run(self, inputs: np.ndarray, targets: np.ndarray, asked: np.ndarray, n_classes: int) -> np.ndarray:
        self._make_room(inputs.shape[1], n_classes)
        proba = np.zeros((len(inputs), len(self._rates), n_classes))
        nearest(
            self._points, self._targets, self._n_seen, inputs, targets, asked, self._rates, self._k, self._scales,
            self._counts, self._means, proba,
        )  # fmt: skip
        return proba

    def _make_room(self, n_inputs: int, n_classes: int) -> None:
        """Take in new inputs, which were 0 so far, as missing values are; and new classes."""
        n_old, n_classes = len(self._points), n_classes * self._by_relevance
        if n_inputs == n_old and n_classes == len(self._counts):
            return
        self._points = _enlarged(self._points, (n_inputs, self._points.shape[1]))
        self._scales = np.concatenate([self._scales, np.ones(n_inputs - n_old, np.float32)])
        self._counts = _enlarged(self._counts, (n_classes,))
        self._means = _enlarged(self._means, (n_classes, n_inputs))


class LabelHistory:
    """What follows the last label: the probability of a label given the one before, forgetting slowly.

    It sees nothing of a sample. Where labels come in runs, as in many real streams, it is hard to beat; where the last
    label is not known yet when the next sample must be predicted, it must not be used.

    References
    ----------
    Žliobaitė, Bifet, Read, Pfahringer & Holmes 2015, Evaluation methods and decision theory for classification of
    streaming data with temporal dependence, whose temporally augmented classifier feeds the last label to a model.
    """

    n_experts = 1

    def __init__(self) -> None:
        self._pairs = np.zeros((0, 0))
        self._last = -1

    def predict_proba(self, inputs: np.ndarray, n_classes: int) -> np.ndarray:
        """Return the vote on some samples, shape (n_rows, 1, n_classes); changes nothing."""
        proba = np.zeros((1, n_classes))
        follow(self._pairs, self._last, _NO_TARGETS, proba)
        return np.repeat(proba[:, np.newaxis], len(inputs), axis=0)

    def step(
        self, inputs: np.ndarray, targets: np.ndarray, taught: None, n_classes: int, asked: np.ndarray
    ) -> np.ndarray:
        """For each row in order, predict, then remember its label; as `Neighbours.step`, but it is always asked."""
        n_known = min(n_classes, MAX_HISTORY)
        self._pairs = _enlarged(self._pairs, (n_known, n_known))
        proba = np.zeros((len(targets), n_classes))
        follow(self._pairs, self._last, targets, proba)
        self._last = int(targets[-1])
        return proba[:, np.newaxis]


@compiled()
def nearest(  # type: ignore[no-untyped-def]
    points, labels, n_seen, inputs, targets, asked, rates, k, scales, counts, means, proba
):
    """Write the votes of the nearest neighbours of each row, then put the row in the place of the oldest.

    Parameters
    ----------
    points
        Ring of the last samples, float32, shape (n_inputs, window).
    labels
        Their targets, shape (window,).
    n_seen
        Samples learnt so far; the newest lies at ``(n_seen - 1) % window``.
    inputs
        float32, shape (n_rows, n_inputs).
    targets
        Shape (n_rows,), or empty to learn nothing.
    asked
        bool, shape (n_rows,).
    rates
        Shape (n_experts,).
    k
        Neighbours that vote.
    scales
        How much the squared difference in each input counts, float32, shape (n_inputs,).
    counts, means
        Faded number of samples of each class, (n_classes,), and their mean, (n_classes, n_inputs), from which `scales`
        are renewed; no classes to leave them.
    proba
        Result, shape (n_rows, n_experts, n_classes), zeros to begin with.
    """
    n_inputs, window = inputs.shape[1], points.shape[1]
    squares = np.empty(window, np.float32)
    near = np.empty(k, np.float32)
    near_label = np.empty(k, np.int64)
    for row in range(inputs.shape[0]):
        n = min(n_seen, window)
        if asked[row] and n > 0:
            for start in range(0, n, PART):
                stop = min(start + PART, n)
                squares[start:stop] = np.float32(0.0)
                for f in range(n_inputs):
                    value, scale = inputs[row, f], scales[f]
                    for j in range(start, stop):
                        difference = points[f, j] - value
                        squares[j] += scale * difference * difference
            for e in range(rates.shape[0]):
                found = 0
                j = n_seen % window
                for age in range(n):
                    j = (j if j > 0 else window) - 1
                    moved = rates[e] * age
                    in_time = np.float32(moved * moved)
                    if found == k and in_time > near[k - 1]:
                        break  # all others are older
                    square = squares[j] + in_time
                    if found < k or square < near[found - 1]:
                        place = found if found < k else k - 1
                        found = min(found + 1, k)
                        while place > 0 and near[place - 1] > square:
                            near[place] = near[place - 1]
                            near_label[place] = near_label[place - 1]
                            place -= 1
                        near[place] = square
                        near_label[place] = labels[j]
                total = SMOOTHING
                for c in range(proba.shape[2]):
                    proba[row, e, c] = SMOOTHING / proba.shape[2]
                for place in range(found):
                    weight = max(near[0], NEGLIGIBLE) / max(near[place], NEGLIGIBLE)
                    proba[row, e, near_label[place]] += weight
                    total += weight
                for c in range(proba.shape[2]):
                    proba[row, e, c] /= total
        if targets.shape[0] > 0:
            place = n_seen % window
            for f in range(n_inputs):
                points[f, place] = inputs[row, f]
            labels[place] = targets[row]
            n_seen += 1
            if counts.shape[0] > 0:
                counts *= CLASS_FADING
                counts[targets[row]] += 1.0
                for f in range(n_inputs):
                    means[targets[row], f] += (inputs[row, f] - means[targets[row], f]) / counts[targets[row]]
                if n_seen >= SETTLING and n_seen % RENEWAL == 0:
                    renew(scales, counts, means)


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
            between[f] += counts[c] / total * (means[c, f] - mean) ** 2
    mean = between.mean()
    for f in range(n_inputs):
        scales[f] = between[f] / mean if mean > 0.0 else 1.0


@compiled()
def follow(pairs, last, targets, proba):  # type: ignore[no-untyped-def]
    """Write the probability of each label to follow the one before, then count each pair.

    Parameters
    ----------
    pairs
        Faded number of times that the second label followed the first, shape (n_known, n_known).
    last
        The label before the first row; -1 for none.
    targets
        Labels, shape (n_rows,), or empty to count nothing and write one row.
    proba
        Result, shape (n_rows, n_classes), zeros to begin with; they stay where the label before is not remembered.
    """
    n_known = pairs.shape[0]
    for row in range(proba.shape[0]):
        if 0 <= last < n_known:
            total = SMOOTHING
            for c in range(n_known):
                total += pairs[last, c]
            for c in range(proba.shape[1]):
                seen = pairs[last, c] if c < n_known else 0.0
                proba[row, c] = (seen + SMOOTHING / proba.shape[1]) / total
        if targets.shape[0] > 0:
            target = targets[row]
            if 0 <= last < n_known and target < n_known:
                for c in range(n_known):
                    pairs[last, c] *= FORGETTING
                pairs[last, target] += 1.0
            last = target


_NO_TARGETS = np.empty(0, np.int64)


def _enlarged(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return the array with this shape, zeros where there was nothing."""
    if array.shape == shape:
        return array
    larger = np.zeros(shape, array.dtype)
    larger[tuple(map(slice, array.shape))] = array
    return larger
