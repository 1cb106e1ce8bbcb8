"""How the history of the neighbours is thinned out, and how it weighs features: compiled parts of its main kernel."""

from __future__ import annotations

import numpy as np

from driftmoe.compilation import part

SPAN = 10
"""Maximum number of episodes of equal density. With one more, the two oldest are merged at half the density."""


@part()
def begin_episode(  # type: ignore[no-untyped-def]
    sample_inputs, sample_targets, sample_times, sample_weights, episodes, order, n
):  # fmt: skip
    """Thin out older episodes, then append an empty one. Return the number of episodes.

    If there are more than `SPAN` episodes of a density, the two oldest of them are merged. If there is still no free
    place, the oldest episode is forgotten.
    """
    half = sample_inputs.shape[2] // 2
    n_alike = 0
    i = n - 1
    while i >= 0:  # from the newest, which is the densest
        is_other = n_alike > 0 and episodes[order[i]]["n_thinnings"] != episodes[order[i + 1]]["n_thinnings"]
        n_alike = 1 if is_other else n_alike + 1
        is_oldest = i == 0 or episodes[order[i - 1]]["n_thinnings"] != episodes[order[i]]["n_thinnings"]
        if is_oldest and n_alike > SPAN:
            first, second = order[i], order[i + 1]
            for source, start in ((first, 0), (second, half)):
                for j in range(half):
                    for f in range(
                        sample_inputs.shape[1]
                    ):  # to assign a slice, numba compiles texts of errors
                        sample_inputs[first, f, start + j] = sample_inputs[source, f, 2 * j]
                    sample_targets[first, start + j] = sample_targets[source, 2 * j]
                    sample_times[first, start + j] = sample_times[source, 2 * j]
                    sample_weights[first, start + j] = sample_weights[source, 2 * j]
            episodes[first]["size"] = 2 * half
            episodes[first]["n_thinnings"] += 1
            episodes[first]["accuracy"] = 0.5 * (episodes[first]["accuracy"] + episodes[second]["accuracy"])
            free_place(order, i + 1, n)
            n -= 1
            n_alike = 0
            i += 1  # the merged episode may be one too many of its new density
        i -= 1
    if n == order.shape[0]:
        free_place(order, np.int64(0), n)
        n -= 1
    e = order[n]
    episodes[e]["accuracy"] = episodes[order[n - 1]]["accuracy"] if n > 0 else 0.0
    episodes[e]["size"] = episodes[e]["n_thinnings"] = 0
    return n + 1


@part()
def free_place(order, i, n):  # type: ignore[no-untyped-def]
    """Move an episode behind those in use."""
    freed = order[i]
    for place in range(i, n - 1):
        order[place] = order[place + 1]
    order[n - 1] = freed


@part()
def renew(relevances, counts, class_means):  # type: ignore[no-untyped-def]
    """Set the relevance of each input to the variance of the class means in it, normalised to a mean of 1."""
    n_classes, n_inputs = class_means.shape
    total = 0.0
    for c in range(n_classes):
        total += counts[c]
    between = np.zeros(n_inputs)
    for f in range(n_inputs):
        mean = 0.0
        for c in range(n_classes):
            mean += counts[c] / total * class_means[c, f]
        for c in range(n_classes):
            between[f] += counts[c] / total * (class_means[c, f] - mean) * (class_means[c, f] - mean)
    mean = 0.0
    for f in range(n_inputs):
        mean += between[f]
    mean /= max(n_inputs, 1)
    for f in range(n_inputs):
        relevances[f] = between[f] / mean if mean > 0.0 else 1.0
