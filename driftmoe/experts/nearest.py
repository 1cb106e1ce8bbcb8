"""The search for the nearest remembered samples: the kernel of `driftmoe.experts.neighbours`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from driftmoe.arithmetic import exp
from driftmoe.compilation import compiled, part
from driftmoe.experts.episodes import begin_episode, renew

SMOOTHING = 0.1
"""Weight of a uniform vote that is added to the neighbours' votes. The nearest neighbour's weight is 1."""

NEGLIGIBLE = 1e-6
"""Smaller squared distances count as equal, so that a copy of the sample does not outvote all other neighbours."""

ACCURACY_FADING = 0.95
"""Decay factor per sample of an episode's accuracy, which covers about the last 20 samples."""

SETTLING = 500
"""Number of samples before features are weighted by their relevance."""

RENEWAL = 100
"""Number of samples between two updates of the features' relevance."""

CLASS_FADING = 0.9995
"""Decay factor per sample of the counts behind the class means."""

EPISODE = np.dtype(
    [
        # Number of samples that it holds.
        ("size", np.int64),
        # How often it has been thinned. It represents 2^n_thinnings times as many samples as it holds.
        ("n_thinnings", np.int64),
        # Faded share of recent samples whose label was that of the nearest sample in this episode.
        ("accuracy", np.float64),
    ],
    align=True,
)

FOUND = np.dtype(
    [
        # Squared distance, in features and in time.
        ("square", np.float32),
        # Voting weight of the sample.
        ("weight", np.float32),
        # Its target, or NOBODY if fewer samples were remembered.
        ("target", np.int64),
    ],
    align=True,
)
"""One of the nearest samples."""

NOBODY = -1

N_IN_USE, N_SEEN = range(2)
"""Indices into the counts: episodes in use, and samples learnt."""

NEVER = -1


class Search(NamedTuple):
    """What was found for the last row that was searched, so that it need not be searched again.

    Attributes
    ----------
    searched_at
        Number of samples learnt before, or `NEVER`; shape (1,).
    searched
        The row, float32, shape (n_inputs,).
    found
        The nearest samples for each vote, FOUND, the nearest first, shape (n_votes, k).
    nearest_targets
        Target of the nearest sample in each episode, shape (n_episodes,).
    """

    searched_at: np.ndarray
    searched: np.ndarray
    found: np.ndarray
    nearest_targets: np.ndarray


def no_search(n_inputs: int, n_votes: int, k: int, n_episodes: int) -> Search:
    """Return room for a search."""
    found = np.zeros((n_votes, k), FOUND)
    return Search(np.array([NEVER]), np.zeros(n_inputs, np.float32), found, np.zeros(n_episodes, np.int64))


FASTMATH = {"nnan", "nsz"}
"""No number here is NaN, and the sign of 0 does not matter. So the compiler may vectorise the search for a minimum,
which gives the same result."""


@part()
def least_of(bits):  # type: ignore[no-untyped-def]
    """Return the least of the bits of numbers that are not negative, int32: they are in the order of the numbers.

    LLVM vectorises a search for the least integer, but not this one among floats.
    """
    least = bits[0]
    for j in range(bits.shape[0]):
        least = bits[j] if bits[j] < least else least
    return least


@part(fastmath=FASTMATH)
def search(  # type: ignore[no-untyped-def]
    sample_inputs, sample_targets, sample_times, sample_weights, episodes, order, n, now, searched, votes, relevances,
    squares, least, found, nearest_targets, finds_targets,
):  # fmt: skip
    """Find the nearest samples for each vote, and with `finds_targets` those of each episode; see `nearest`."""
    k, best = found.shape[1], 0.0
    for i in range(n):
        e = order[i]
        m = episodes[e]["size"]
        of_episode = squares[e, :m]
        of_episode[:] = np.float32(0.0)
        for f in range(searched.shape[0]):
            value, relevance = searched[f], relevances[f]
            remembered = sample_inputs[e, f]
            for j in range(m):
                difference = remembered[j] - value
                of_episode[j] += relevance * difference * difference
        least.view(np.int32)[e] = least_of(of_episode.view(np.int32))
        smallest = least[e]
        if finds_targets:
            j = 0
            while of_episode[j] != smallest:
                j += 1
            nearest_targets[e] = sample_targets[e, j]
        best = max(best, episodes[e]["accuracy"])
    for v in range(votes.shape[0]):
        likeness, rate, near = votes[v, 0], votes[v, 1], found[v]
        n_found, limit = 0, np.float32(0.0)  # the last of the nearest, once there are k
        for i in range(n - 1, -1, -1):
            e = order[i]
            m = episodes[e]["size"]
            factor = np.float32(exp(likeness * (best - episodes[e]["accuracy"])) if likeness != 0.0 else 1.0)
            moved = rate * (now - 1 - sample_times[e, m - 1])
            if n_found == k and least[e] * factor + np.float32(moved * moved) >= limit:
                continue  # none of its samples can be among the nearest
            for j in range(m - 1, -1, -1):
                if n_found == k and squares[e, j] * factor >= limit:
                    continue  # too far without its age
                moved = rate * (now - 1 - sample_times[e, j])
                square = squares[e, j] * factor + np.float32(moved * moved)
                if n_found < k or square < near[n_found - 1]["square"]:
                    place = n_found if n_found < k else k - 1
                    n_found = min(n_found + 1, k)
                    while place > 0 and near[place - 1]["square"] > square:
                        near[place]["square"] = near[place - 1]["square"]
                        near[place]["target"] = near[place - 1]["target"]
                        near[place]["weight"] = near[place - 1]["weight"]
                        place -= 1
                    near[place]["square"] = square
                    near[place]["target"] = sample_targets[e, j]
                    near[place]["weight"] = sample_weights[e, j]
                    limit = near[k - 1]["square"]
        for place in range(n_found, k):
            near[place]["target"] = NOBODY


@part(fastmath=FASTMATH)
def vote_of(near, proba):  # type: ignore[no-untyped-def]
    """Write the vote of the nearest samples."""
    total = SMOOTHING
    for c in range(proba.shape[0]):
        proba[c] = SMOOTHING / proba.shape[0]
    for place in range(near.shape[0]):
        if near[place]["target"] == NOBODY:
            break
        closest = max(near[0]["square"], NEGLIGIBLE)
        weight = near[place]["weight"] * closest / max(near[place]["square"], NEGLIGIBLE)
        proba[near[place]["target"]] += weight
        total += weight
    for c in range(proba.shape[0]):
        proba[c] /= total


@compiled(fastmath=FASTMATH, nogil=True)
def nearest(  # type: ignore[no-untyped-def]
    sample_inputs, sample_targets, sample_times, sample_weights, episodes, order, counts, inputs, targets, taught,
    asked, votes, relevances, class_counts, class_means, searched_at, searched, found, nearest_targets,
    proba,
):  # fmt: skip
    """Write the votes of the nearest neighbours of each row, then remember the row.

    A row that is the last one searched, since when nothing was learnt, is not searched again.

    Parameters
    ----------
    sample_inputs
        Remembered samples, float32, shape (n_episodes, n_inputs or more, size).
    sample_targets, sample_times
        Target of each remembered sample, and number of samples before it, shape (n_episodes, size).
    sample_weights
        Voting weight of each remembered sample, float32, same shape.
    episodes
        EPISODE, shape (n_episodes,).
    order
        Episodes in use, oldest first, then unused ones; shape (n_episodes,).
    counts
        Counts; see `N_IN_USE`.
    inputs
        float32, finite, shape (n_rows, n_inputs).
    targets
        Class indices, shape (n_rows,), or empty to learn nothing.
    taught
        Weight of each row, shape (n_rows,). A row of weight 0 is not remembered.
    asked
        Rows on which to vote, bool, shape (n_rows,).
    votes
        Likeness and rate of each vote, shape (n_experts, 2).
    relevances
        Factor of the squared difference in each input, float32, shape (n_inputs,).
    class_counts, class_means
        Faded number of samples of each class, (n_classes,), and their mean, (n_classes, n_inputs), from which
        `relevances` are updated; without classes `relevances` do not change.
    searched_at, searched, found, nearest_targets
        The last `Search`, before and after the call. Targets are only found for rows that are learnt and for the last
        row of a call, which may be learnt next.
    proba
        Result, shape (n_rows, n_experts, n_classes); zeros on rows that are not asked, and before anything is learnt.
    """
    n_episodes, n_inputs, size = sample_inputs.shape[0], inputs.shape[1], sample_inputs.shape[2]
    squares = np.empty((n_episodes, size), np.float32)
    least = np.empty(n_episodes, np.float32)
    for row in range(inputs.shape[0]):
        n, now = counts[N_IN_USE], counts[N_SEEN]
        is_learnt = targets.shape[0] > 0 and taught[row] > 0.0
        for v in range(proba.shape[1]):
            for c in range(proba.shape[2]):
                proba[row, v, c] = 0.0
        if asked[row] and n > 0:
            is_known = searched_at[0] == now
            for f in range(n_inputs):
                is_known &= searched[f] == inputs[row, f]
            if not is_known:
                may_be_learnt = is_learnt or row == inputs.shape[0] - 1
                searched_at[0] = now if may_be_learnt else NEVER
                for f in range(n_inputs):
                    searched[f] = inputs[row, f]
                search(
                    sample_inputs, sample_targets, sample_times, sample_weights, episodes, order, n, now, searched,
                    votes, relevances, squares, least, found, nearest_targets, may_be_learnt,
                )  # fmt: skip
            for v in range(votes.shape[0]):
                vote_of(found[v], proba[row, v])
        if not is_learnt:
            continue
        target = targets[row]
        if asked[row]:
            for i in range(n):
                e = order[i]
                is_right = 1.0 if nearest_targets[e] == target else 0.0
                episodes[e]["accuracy"] += (1.0 - ACCURACY_FADING) * (is_right - episodes[e]["accuracy"])
        if n == 0 or episodes[order[n - 1]]["size"] == size:
            n = begin_episode(sample_inputs, sample_targets, sample_times, sample_weights, episodes, order, n)
            counts[N_IN_USE] = n
        e = order[n - 1]
        j = episodes[e]["size"]
        for f in range(n_inputs):
            sample_inputs[e, f, j] = inputs[row, f]
        sample_targets[e, j], sample_times[e, j], sample_weights[e, j] = target, now, taught[row]
        episodes[e]["size"] += 1
        counts[N_SEEN] += 1
        if class_counts.shape[0] > 0:
            class_counts *= CLASS_FADING
            class_counts[target] += taught[row]
            share = taught[row] / class_counts[target]
            for f in range(n_inputs):
                class_means[target, f] += share * (inputs[row, f] - class_means[target, f])
            if now + 1 >= SETTLING and (now + 1) % RENEWAL == 0:
                renew(relevances, class_counts, class_means)
