"""k-nearest neighbours over a bounded, progressively thinned history. Older episodes are kept at lower density."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from driftmoe.experts.nearest import EPISODE, N_IN_USE, N_SEEN, NEVER, Search, nearest, no_search
from driftmoe.experts.protocol import Unmonitored
from driftmoe.growth import enlarged
from driftmoe.state import State, array_of, check_names, count_of, misfit, restored
from driftmoe.transaction import NO_TARGETS, NO_WEIGHTS, Changes, StepPlan, planned, publication

if TYPE_CHECKING:
    from driftmoe.experts.batch import Batch, Rows

N_EPISODES = 32
"""Number of parts of the past whose likeness to the present is tracked separately."""

VOTES = ((0.0, 0.0003), (0.0, 0.002), (0.0, 0.016), (8.0, 0.0))
"""Likeness and rate of each vote; see `Neighbours`."""


_STATE = (
    "n_seen", "episode_sizes", "episode_n_thinnings", "episode_accuracies", "sample_inputs", "sample_targets",
    "sample_times", "sample_weights", "input_relevances", "class_counts", "class_means",
)  # fmt: skip


class Neighbours(Unmonitored):
    """k-nearest neighbours with a distance in features, in time, and between the past and the present concept.

    The history consists of episodes of consecutive samples. The newest episode is complete. When more than a few
    episodes have the same density, the two oldest are merged, and keep every second sample. So memory is bounded, and
    older samples are kept at lower density; samples older than all episodes are forgotten. For each labelled sample,
    each episode's own nearest sample predicts the label, and the episode's accuracy is the faded share of correct
    predictions. An episode of another concept has a low accuracy until the concept returns.

    Each pair of `votes` is an expert of its own: the `k` nearest samples vote for their labels, with weights inverse to
    their squared distance, ``|x - x'|² exp(likeness · (best accuracy - accuracy)) + (rate · age)²``. If both numbers
    are 0, all of the history counts equally. A large likeness keeps only the episodes that do as well as the best. A
    large rate keeps only the last few samples.

    Parameters
    ----------
    capacity
        Maximum number of remembered samples, a multiple of 64: 32 episodes that can be halved. A sample takes 4 bytes
        per input, and 20 more.
    k
        Number of neighbours that vote.
    votes
        (likeness, rate) of each vote, 0 or more; `rate` is in standard deviations of a feature per sample.
    by_relevance
        Whether features are weighted by the recent variance between the means of the classes, instead of equally. This
        does not detect features in which classes differ other than by their means.

    Raises
    ------
    ValueError
        If the episodes cannot share the capacity.

    References
    ----------
    Cover & Hart 1967, Nearest neighbor pattern classification. Dudani 1976: votes weighted by distance. Losing, Hammer
    & Wersing 2016, KNN classifier with self adjusting memory: a long-term memory beside the window. They delete samples
    that contradict the present; here such samples only lose weight, and can return. Bousquet & Warmuth 2002, Tracking a
    small set of experts by mixing past posteriors: what was good once will be good again. Datar et al. 2002:
    exponential histograms, by which old episodes are thinned.
    """

    reads = "inputs"
    is_costly = True
    is_repeatable = True

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
        self.kind = "relevant-neighbours" if by_relevance else "neighbours"
        self._k = k
        self._votes = np.array(votes, np.float64)
        size = capacity // N_EPISODES
        self._sample_inputs = np.zeros(
            (N_EPISODES, 0, size), np.float32
        )  # the values of one input are contiguous
        self._sample_targets = np.zeros((N_EPISODES, size), np.int64)
        self._sample_times = np.zeros((N_EPISODES, size), np.int64)
        self._sample_weights = np.zeros((N_EPISODES, size), np.float32)
        self._episodes = np.zeros(N_EPISODES, EPISODE)
        self._order = np.arange(N_EPISODES)  # episodes in use, oldest first, then unused ones
        self._counts = np.zeros(2, np.int64)
        self._by_relevance = by_relevance
        self._input_relevances = np.ones(0, np.float32)  # factor of the squared difference in each input
        self._class_counts = np.zeros(0)
        self._class_means = np.zeros((0, 0))
        self._search = self._new_search(0)

    def _new_search(self, n_inputs: int) -> Search:
        return no_search(n_inputs, len(self._votes), self._k, self.size)

    def __getstate__(self) -> dict[str, Any]:
        """Return what copies and pickles hold: all but the last search, which a prediction writes."""
        return {name: value for name, value in vars(self).items() if name != "_search"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._search = self._new_search(len(self._input_relevances))

    @property
    def n_experts(self) -> int:  # type: ignore[override]  # counted anew
        """Number of votes."""
        return len(self._votes)

    @property
    def names(self) -> list[str]:
        """Names of the votes: their rates, or "(like now)" for votes that prefer past times like the present."""
        return [f"({rate:g})" if likeness == 0.0 else "(like now)" for likeness, rate in self._votes]

    def predict_proba(self, batch: Batch, asked: np.ndarray | None = None) -> np.ndarray:
        """Return the votes, zeros before anything is learnt; see `Experts.predict_proba`."""
        return self.plan_votes(batch, StepPlan())

    def plan_votes(self, batch: Batch, plan: StepPlan, asked: Rows = None) -> np.ndarray:
        """Compute the votes on the rows that are asked, zeros on others; see `Experts.plan_votes`."""
        inputs, n_rows = batch.inputs, len(batch.inputs)
        part = self._grown(inputs.shape[1], batch.n_classes)
        if part is not self:
            plan.is_repeatable = False
        proba = np.empty((n_rows, len(self._votes), batch.n_classes))
        asked = np.ones(n_rows, np.bool_) if asked is None else asked
        plan.compute(nearest, *part._call(inputs, NO_TARGETS, NO_WEIGHTS, asked, part._search, proba))
        return proba

    def plan(self, batch: Batch, taught: Rows = None, asked: Rows = None, *, changes: Changes) -> np.ndarray:
        """Plan, for each row in order, to predict if asked and then remember it; see `Experts.plan`.

        A remembered row votes as a neighbour with its weight. On rows that are not asked the votes are zeros, no
        accuracy changes, and the cost is negligible.
        """
        inputs, n_rows = batch.inputs, len(batch.inputs)
        part = self._grown(inputs.shape[1], batch.n_classes)
        if part is not self:
            changes.append(publication(self, part))
        proba = np.empty((n_rows, len(self._votes), batch.n_classes))
        asked = np.ones(n_rows, np.bool_) if asked is None else asked
        # A signal handler may predict while a thread learns a block, and would write over its search.
        search = part._search if n_rows == 1 else part._new_search(inputs.shape[1])
        changes.append(
            planned(nearest, *part._call(inputs, batch.targets, batch.weights, asked, search, proba))
        )
        if search is not part._search:  # what the handler found is of a row half learnt
            changes.append(partial(part._search.searched_at.fill, NEVER))
        return proba

    def nearest_to(self, inputs: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the remembered samples that are nearest to one sample in their features, the nearest first.

        Time and episodes do not count here. Of two samples at the same distance the later one comes first.

        Parameters
        ----------
        inputs
            float32, shape (n_inputs,).
        n
            Most samples to return.

        Returns
        -------
        targets, ages, distances
            Class indices; how many samples ago they were learnt, 1 for the last; and distances. Shape (n,), or fewer.
        """
        kept = self._grown(len(inputs), len(self._class_counts)).state()
        differences = kept["sample_inputs"] - inputs
        distances = np.sqrt((kept["input_relevances"] * differences**2).sum(axis=1))
        ages = kept["n_seen"] - kept["sample_times"]
        order = np.lexsort((ages, distances))[:n]
        return kept["sample_targets"][order], ages[order], distances[order]

    def sizes(self) -> dict[str, int]:
        """Return how many inputs and classes are known; see `Group.sizes`."""
        n_classes = (
            max(int(self._sample_targets.max()) + 1, len(self._class_counts)) if self._counts[N_SEEN] else 0
        )
        return {"n_inputs": len(self._input_relevances), "n_classes": n_classes}

    @property
    def size(self) -> int:  # type: ignore[override]  # the number of places
        """Greatest number of episodes: `N_EPISODES`, or fewer after `resized`."""
        return len(self._order)

    least_size = 2

    def bytes_at(self, size: int) -> int:
        """Return the bytes of all arrays with room for this many episodes."""
        places = (
            self._sample_targets, self._sample_times, self._sample_weights, self._episodes, self._order,
            self._search.nearest_targets,
        )  # fmt: skip
        of_episode = sum(array.nbytes // len(array) for array in places)
        of_episode += self._input_relevances.nbytes * self._sample_targets.shape[1]
        others = (
            self._counts, self._votes, self._input_relevances, self._class_counts, self._class_means,
            *self._search[:-1],
        )  # fmt: skip
        return size * of_episode + sum(array.nbytes for array in others)

    def resized(self, size: int) -> Neighbours:
        """Return a copy with room for this many episodes. If there are more, it forgets the oldest, thinnest ones."""
        state = self.state()
        gone = max(0, len(state["episode_sizes"]) - size)
        n_gone = int(state["episode_sizes"][:gone].sum())
        for name in ("episode_sizes", "episode_n_thinnings", "episode_accuracies"):
            state[name] = state[name][gone:]
        for name in ("sample_inputs", "sample_targets", "sample_times", "sample_weights"):
            state[name] = state[name][n_gone:]
        return restored(self, state | {"max_episodes": size})

    def state(self) -> State:
        """Return the remembered samples, episode by episode, oldest first; see `driftmoe.state`.

        `max_episodes` is in it if there is room for fewer than `N_EPISODES`.
        """
        n_inputs, order = len(self._input_relevances), self._order[: self._counts[N_IN_USE]].tolist()
        sizes = self._episodes["size"][order]
        places = [(e, slice(size)) for e, size in zip(order, sizes.tolist(), strict=True)]
        inputs = [self._sample_inputs[e, :n_inputs, kept].T for e, kept in places]
        limit = {} if self.size == N_EPISODES else {"max_episodes": self.size}
        return limit | {
            "n_seen": int(self._counts[N_SEEN]),
            "episode_sizes": sizes.copy(),
            "episode_n_thinnings": self._episodes["n_thinnings"][order],
            "episode_accuracies": self._episodes["accuracy"][order],
            "sample_inputs": np.concatenate([np.empty((0, n_inputs), np.float32), *inputs]),
            "sample_targets": _joined(self._sample_targets, places),
            "sample_times": _joined(self._sample_times, places),
            "sample_weights": _joined(self._sample_weights, places),
            "input_relevances": self._input_relevances.copy(),
            "class_counts": self._class_counts.copy(),
            "class_means": self._class_means.copy(),
        }

    def restore(self, state: State) -> None:
        """Restore the state of an expert that was built with the same arguments; see `driftmoe.state`."""
        limit = ("max_episodes",) if isinstance(state, dict) and "max_episodes" in state else ()
        check_names(state, (*limit, *_STATE), self)
        most = count_of(state, "max_episodes", self, at_most=N_EPISODES) if limit else N_EPISODES
        if most < self.least_size:
            raise misfit(self, "max_episodes", f"is {most}", f"it must be {self.least_size} or more")
        n_seen = count_of(state, "n_seen", self)
        sizes = array_of(state, "episode_sizes", np.int64, (None,), self)
        n_episodes, room = len(sizes), self._sample_targets.shape[1]
        if n_episodes > most or (sizes < 1).any() or (sizes > room).any():
            raise ValueError(
                f"the state of {type(self).__name__} has {n_episodes} episodes of {sizes.tolist()} samples; this one "
                f"has room for {most} of 1 to {room} samples: build it with the arguments that it had"
            )
        n_thinnings = array_of(state, "episode_n_thinnings", np.int64, (n_episodes,), self)
        accuracies = array_of(state, "episode_accuracies", np.float64, (n_episodes,), self)
        relevances = array_of(state, "input_relevances", np.float32, (None,), self)
        n_samples, n_inputs = int(sizes.sum()), len(relevances)
        inputs = array_of(state, "sample_inputs", np.float32, (n_samples, n_inputs), self)
        targets = array_of(state, "sample_targets", np.int64, (n_samples,), self)
        times = array_of(state, "sample_times", np.int64, (n_samples,), self)
        weights = array_of(state, "sample_weights", np.float32, (n_samples,), self)
        class_counts = array_of(state, "class_counts", np.float64, (None,), self)
        n_classes = len(class_counts)
        means = array_of(state, "class_means", np.float64, (n_classes, n_inputs if n_classes else None), self)
        if (targets < 0).any():
            raise misfit(self, "sample_targets", "has indices below 0", "they are indices of classes")
        self._sample_inputs = np.zeros((most, n_inputs, room), np.float32)
        self._sample_targets, self._sample_times = np.zeros((2, most, room), np.int64)
        self._sample_weights = np.zeros((most, room), np.float32)
        self._episodes = np.zeros(most, EPISODE)
        first = 0
        for e, size in enumerate(sizes.tolist()):
            kept = slice(first, first + size)
            self._sample_inputs[e, :, :size] = inputs[kept].T
            self._sample_targets[e, :size], self._sample_times[e, :size] = targets[kept], times[kept]
            self._sample_weights[e, :size] = weights[kept]
            self._episodes[e] = size, n_thinnings[e], accuracies[e]
            first += size
        self._order, self._counts = np.arange(most), np.array([n_episodes, n_seen])
        self._input_relevances, self._class_counts, self._class_means = relevances, class_counts, means
        self._search = self._new_search(n_inputs)

    def spare_room(self) -> State:
        """Return the room for inputs as a plain number, for `take_spare_room`. It is not part of the state."""
        return {"inputs": self._sample_inputs.shape[1]}

    def take_spare_room(self, room: State) -> None:
        """Make the room that another expert of the same state has, so that both grow at the same time."""
        n_episodes, _, size = self._sample_inputs.shape
        self._sample_inputs = enlarged(self._sample_inputs, (n_episodes, room["inputs"], size))

    def _call(
        self,
        inputs: np.ndarray,
        targets: np.ndarray,
        taught: np.ndarray,
        asked: np.ndarray,
        search: Search,
        proba: np.ndarray,
    ) -> tuple[Any, ...]:
        """Return the arguments of `nearest`."""
        return (
            self._sample_inputs, self._sample_targets, self._sample_times, self._sample_weights, self._episodes,
            self._order, self._counts, inputs, targets, taught, asked, self._votes, self._input_relevances,
            self._class_counts, self._class_means, *search, proba,
        )  # fmt: skip

    def _grown(self, n_inputs: int, n_classes: int) -> Neighbours:
        """Return a copy that knows this many inputs and classes, or this object if it does. This one does not change.

        Samples so far get 0 in new inputs, which is the code of a missing value.
        """
        n_old, n_classes = len(self._input_relevances), n_classes * self._by_relevance
        if n_inputs == n_old and n_classes == len(self._class_counts):
            return self
        grown = copy.copy(self)
        if (
            n_inputs > self._sample_inputs.shape[1]
        ):  # with spare room, so that not every new input copies everything
            room = n_inputs if n_old == 0 else n_inputs + n_inputs // 4
            grown._sample_inputs = enlarged(
                self._sample_inputs, (self.size, room, self._sample_inputs.shape[2])
            )
        grown._input_relevances = np.concatenate(
            [self._input_relevances, np.ones(n_inputs - n_old, np.float32)]
        )
        grown._class_counts = enlarged(self._class_counts, (n_classes,))
        grown._class_means = enlarged(self._class_means, (n_classes, n_inputs))
        grown._search = grown._new_search(n_inputs)
        return grown


def _joined(array: np.ndarray, places: Sequence[tuple[int, slice]]) -> np.ndarray:
    """Return the used entries of all episodes, concatenated."""
    return np.concatenate([array[:0, 0], *(array[place] for place in places)])
