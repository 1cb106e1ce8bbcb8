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

CHUNK = 4096
"""Rows that are predicted at once, which bounds the memory."""

Predict = Callable[[np.ndarray], np.ndarray]
"""Takes vectors, shape (n_rows, n_features); returns class probabilities, shape (n_rows, n_classes)."""


def n_drawn(n_rows: int, n_features: int, n_repeats: int = 1) -> int:
    """Return from how many of the recent samples values are drawn."""
    for_each_row = max(n_features * n_repeats, 1)
    most = min(MOST_PREDICTIONS // for_each_row, MOST_NUMBERS // (for_each_row * max(n_features, 1)))
    return min(n_rows, max(FEWEST, most))


def contributions(predict: Predict, vector: np.ndarray, rows: np.ndarray, target: int) -> np.ndarray:
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

    Returns
    -------
    contributions
        ``p(target | x) - mean_r p(target | x with feature f of row r)`` for each feature f, shape (n_features,).
    """
    replaced, shares, owners = [], [], []
    for feature in range(len(vector)):
        values, counts = np.unique(rows[:, feature], return_counts=True)
        changed = np.repeat(vector[np.newaxis], len(values), axis=0)
        changed[:, feature] = values
        replaced.append(changed)
        shares.append(counts / len(rows))
        owners.append(np.full(len(values), feature))
    proba = in_chunks(predict, np.concatenate([vector[np.newaxis], *replaced]))[:, target]
    means = np.bincount(
        np.concatenate(owners), np.concatenate(shares) * (proba[0] - proba[1:]), minlength=len(vector)
    )
    return np.asarray(means, np.float64)


def importances(
    predict: Predict, rows: np.ndarray, targets: np.ndarray, n_repeats: int, rng: np.random.Generator
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

    Returns
    -------
    importances
        Mean loss of probability, shape (n_repeats, n_features). Below 0 if the labels are more probable without.
    """
    n_rows, n_features = rows.shape
    places = np.arange(n_rows)
    before = in_chunks(predict, rows)[places, targets]
    found = np.zeros((n_repeats, n_features))
    for repeat in range(n_repeats):
        shuffled = np.repeat(rows[np.newaxis], n_features, axis=0)
        for feature in range(n_features):
            shuffled[feature, :, feature] = rows[rng.permutation(n_rows), feature]
        proba = in_chunks(predict, shuffled.reshape(-1, n_features))
        of_target = proba.reshape(n_features, n_rows, -1)[:, places, targets]
        found[repeat] = (before - of_target).mean(axis=1)
    return found


def in_chunks(predict: Predict, vectors: np.ndarray) -> np.ndarray:
    """Return the predictions for rows, a few thousand at a time."""
    starts = range(0, len(vectors), CHUNK)
    return np.concatenate([predict(vectors[start : start + CHUNK]) for start in starts])
