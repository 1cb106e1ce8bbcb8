"""Which features a tree sees, and the seeds from which its leaves draw the features that they may split on."""

from __future__ import annotations

import copy
from numbers import Integral
from typing import Any

import numpy as np

from driftmoe.trees.settings import check_number


class Subsets:
    """The features that each tree of a pool sees: all, those given, or a drawn share.

    A draw is a function of the seed and of the number of the tree, not of what was drawn before.

    Parameters
    ----------
    feature_subsets, seed
        As in `TreePool`.

    Attributes
    ----------
    seed_entropy
        What all draws come from: the seed, or a large number drawn from the system.
    seed_offset
        Number, in the draws, of the first tree of the pool; a clone keeps the number that its tree had.
    """

    def __init__(self, feature_subsets: Any, seed: int | None) -> None:
        check_number("seed", seed, 0, kind=Integral, none="another draw each time")
        self.seed_entropy: Any = np.random.SeedSequence(seed).entropy
        self.seed_offset = 0
        self._share = 1.0
        self._given = np.ones((0, 0), np.bool_)
        if feature_subsets is not None and np.ndim(feature_subsets) == 0:
            check_number("feature_subsets", feature_subsets, 0, 1, none="all features")
            self._share = float(feature_subsets)
        elif feature_subsets is not None:
            self._given = np.array(feature_subsets)
        if not 0.0 < self._share <= 1.0:
            raise ValueError(f"feature_subsets={self._share}; a share lies above 0 and is at most 1")
        if self._given.dtype != np.bool_ or self._given.ndim != 2:
            raise ValueError(
                f"feature_subsets of type {self._given.dtype} and shape {self._given.shape}; give "
                "booleans, one row a tree and one column a feature"
            )

    @property
    def is_drawing(self) -> bool:
        """Whether each tree draws its features."""
        return self._share < 1.0

    @property
    def n_bytes(self) -> int:
        """Bytes of the subsets given."""
        return self._given.nbytes

    def starting_at(self, offset: int, entropy: Any = None) -> Subsets:
        """Return the same for a pool whose first tree has the number `offset`, with other entropy if it is given."""
        subsets = copy.copy(self)
        subsets.seed_offset, subsets._given = offset, self._given.copy()
        subsets.seed_entropy = self.seed_entropy if entropy is None else entropy
        return subsets

    def seed(self, row: int, trees_each: int) -> int:
        """Return the seed of the first leaf of a tree; `row` counts the trees, `trees_each` of them to an expert."""
        key = (self.seed_offset * trees_each + row,)
        return int(np.random.SeedSequence(self.seed_entropy, spawn_key=key).generate_state(1)[0])

    def is_used(self, expert: int, first: int, last: int) -> np.ndarray:
        """Return whether the trees of an expert see each of the columns from `first` up to `last`, which are new."""
        expert += self.seed_offset
        is_used = np.ones(last - first, np.bool_)
        if expert < len(self._given):
            given = self._given[expert, first:last]
            is_used[: len(given)] = given
        if self._share < 1.0 and last > first:
            key = np.random.SeedSequence(self.seed_entropy, spawn_key=(expert, first))
            draws = np.random.default_rng(key).random(last - first)
            n_drawn = max(1, round(self._share * (last - first)))
            is_used = draws < self._share if first else draws <= np.sort(draws)[n_drawn - 1]
        return is_used
