"""How much a prediction rests on each feature: what changes if the feature alone takes other values.

`contributions` asks it for one sample: the feature takes each of the values that it had in recent samples, one after
the other, and the mean of the predictions is compared with the prediction for the sample. So a feature is removed by
averaging over its marginal distribution, one feature at a time: "removal with the marginal distribution" in the survey
of Covert, Lundberg & Lee (2021), and the "prediction difference" of Robnik-Šikonja & Kononenko (2008, eq. 4).

`importances` asks it for the labels of recent samples: the values of the feature are shuffled among the samples, which
is permutation importance (Breiman 2001, sec. 10; model reliance of Fisher, Rudin & Dominici 2019, with the loss 1 -
p(true label)). iPFI (Fumagalli et al. 2023) would update such figures with every sample, at the cost of a prediction
for each feature and sample; here they cost nothing until they are asked for.

References
----------
Covert, Lundberg and Lee (2021). Explaining by removing: a unified framework for model explanation. JMLR 22.

Robnik-Šikonja and Kononenko (2008). Explaining classifications for individual instances. IEEE TKDE 20.

Breiman (2001). Random forests. Machine Learning 45.

Fisher, Rudin and Dominici (2019). All models are wrong, but many are useful. JMLR 20.

Fumagalli, Muschalik, Hüllermeier and Hammer (2023). Incremental permutation feature importance (iPFI). Machine Learning
112.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

MOST_PREDICTIONS, MOST_NUMBERS = 20_000, 4_000_000
"""Most predictions for one answer, and most numbers in their samples. With many features values are drawn from fewer
samples, at least `FEWEST`."""

FEWEST = 8

BUDGET = 32_000_000
"""Most numbers in the samples of all predictions. Beyond it, features are left out; see `within_budget`."""

CHUNK, CHUNK_NUMBERS = 4096, 1_000_000
"""Most rows, and most numbers in them, that are built and predicted at once. They bound the memory."""

Predict = Callable[[np.ndarray], np.ndarray]
"""Takes vectors, shape (n_rows, n_features); returns class probabilities, shape (n_rows, n_classes)."""


def n_drawn(n_rows: int, n_features: int, n_repeats: int = 1) -> int:
    """Return from how many of the recent samples values are drawn."""
    for_each_row = max(n_features * n_repeats, 1)
    most = min(MOST_PREDICTIONS // for_each_row, MOST_NUMBERS // (for_each_row * max(n_features, 1)))
    return min(n_rows, max(FEWEST, most))


def within_budget(costs: np.ndarray, unusual: np.ndarray, width: int) -> np.ndarray:
    """Return which features there is time for, the most unusual first. Features that cost nothing are among them.

    Parameters
    ----------
    costs
        Predictions that each feature takes, shape (n_features,).
    unusual
        By which features are chosen, the largest first, shape (n_features,). At least one feature is chosen.
    width
        Numbers in a row: of features, or of the model's inputs if there are more.

    Returns
    -------
    is_tried
        bool, shape (n_features,).
    """
    order = np.argsort(-unusual, kind="stable")
    order = order[costs[order] > 0]
    n_tried = max(1, int(np.searchsorted(np.cumsum(costs[order]), BUDGET // max(width, 1), side="right")))
    is_tried = costs == 0
    is_tried[order[:n_tried]] = True
    return is_tried


def contributions(
    predict: Predict, vector: np.ndarray, rows: np.ndarray, target: int, *, width: int = 0
) -> np.ndarray:
    """Return what each feature of a sample adds to the probability of a class.

    Parameters
    ----------
    predict
        The model.
    vector
        The sample, shape (n_features,).
    rows
        Recent samples, shape (n_rows, n_features), at least one. NaN, a missing value, is a value like any other.
    target
        Index of the class.
    width
        Number of the model's inputs, if there may be more of them than features.

    Returns
    -------
    contributions
        ``p(target | x) - mean_r p(target | x with feature f of row r)`` for each feature f, shape (n_features,). NaN
        for features that there is no time for. Those are tried first whose value is the most unusual: the one that the
        fewest rows share, then the one farthest from the rows' mean in standard deviations.
    """
    n_features, width = len(vector), max(len(vector), width)
    columns, values, shares = [], [], []
    for feature in range(n_features):
        found, counts = np.unique(rows[:, feature], return_counts=True)
        is_other = ~_are_equal(found, vector[feature])
        columns.append(np.full(is_other.sum(), feature))
        values.append(found[is_other])
        shares.append(counts[is_other] / len(rows))
    is_tried = within_budget(np.array([len(one) for one in values]), _how_unusual(vector, rows), width)
    column, value, share = (np.concatenate(one) for one in (columns, values, shares))
    taken = is_tried[column]
    column, value, share = column[taken], value[taken], share[taken]
    targets, places = np.array([target]), np.zeros(len(column), np.int64)
    before = predict(vector[np.newaxis])[0, target]
    after = _with_one_changed(predict, vector[np.newaxis], places, column, value, targets, width)
    means = np.bincount(column, share * (before - after), minlength=n_features)
    return np.where(is_tried, means, np.nan)


def _how_unusual(vector: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return how unusual each value of a sample is: the share of rows with others, and the distance from their mean."""
    share = (~_are_equal(rows, vector)).mean(axis=0)
    is_given = ~np.isnan(rows)
    n = np.maximum(is_given.sum(axis=0), 1)
    mean = np.where(is_given, rows, 0.0).sum(axis=0) / n
    spread = np.sqrt((np.where(is_given, rows - mean, 0.0) ** 2).sum(axis=0) / n)
    distance = np.nan_to_num(np.abs(vector - mean) / np.where(spread > 0.0, spread, 1.0))
    return share + 1e-3 * distance / (1.0 + distance)


def importances(
    predict: Predict,
    rows: np.ndarray,
    targets: np.ndarray,
    n_repeats: int,
    rng: np.random.Generator,
    *,
    width: int = 0,
) -> np.ndarray:
    """Return how much probability the true labels lose when the values of a feature are shuffled among the samples.

    Parameters
    ----------
    predict
        The model.
    rows, targets
        Samples, shape (n_rows, n_features), and their classes, shape (n_rows,).
    n_repeats
        How often each feature is shuffled.
    rng
        Draws the permutations.
    width
        As in `contributions`.

    Returns
    -------
    importances
        Mean loss of probability, shape (n_repeats, n_features). Below 0 if the labels are more probable without. NaN
        for features that there is no time for. Those that take the most different values among the rows are tried
        first.
    """
    n_rows, n_features = rows.shape
    width = max(n_features, width)
    n_values = np.array([len(np.unique(rows[:, feature])) for feature in range(n_features)])
    is_tried = within_budget(np.where(n_values > 1, n_rows, 0), n_values, width)
    places = np.arange(n_rows)
    size = _rows_at_once(width)
    parts = [slice(start, start + size) for start in range(0, n_rows, size)]
    before = np.concatenate([predict(rows[part])[places[: len(rows[part])], targets[part]] for part in parts])
    found = np.zeros((n_repeats, n_features))
    for repeat in range(n_repeats):
        # Each feature has its permutation, tried or not, so that the others do not depend on the budget.
        shuffled = np.stack([rows[rng.permutation(n_rows), feature] for feature in range(n_features)])
        column, place = np.nonzero(is_tried[:, np.newaxis] & ~_are_equal(shuffled, rows.T))
        after = _with_one_changed(predict, rows, place, column, shuffled[column, place], targets, width)
        found[repeat] = np.bincount(column, before[place] - after, minlength=n_features) / n_rows
    found[:, ~is_tried] = np.nan
    return found


def _with_one_changed(
    predict: Predict,
    rows: np.ndarray,
    places: np.ndarray,
    columns: np.ndarray,
    values: np.ndarray,
    targets: np.ndarray,
    width: int,
) -> np.ndarray:
    """Return the target's probability of `rows[places[i]]` with one value changed, for each i, chunk by chunk."""
    proba = np.empty(len(places))
    size = _rows_at_once(width)
    for start in range(0, len(places), size):
        part = slice(start, start + size)
        changed = rows[places[part]]  # a copy
        each = np.arange(len(changed))
        changed[each, columns[part]] = values[part]
        proba[part] = predict(changed)[each, targets[places[part]]]
    return proba


def _rows_at_once(width: int) -> int:
    return max(1, min(CHUNK, CHUNK_NUMBERS // max(width, 1)))


def _are_equal(one: np.ndarray, other: np.ndarray | float) -> np.ndarray:
    """Return where values are equal, or both missing."""
    equal: np.ndarray = (one == other) | (np.isnan(one) & np.isnan(other))
    return equal
