"""A Hoeffding tree as a river estimator: it takes dictionaries, and holds a pool of one tree."""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from river import base

from driftmoe.encoding import MAX_ABSOLUTE, Encoder, check_label, warn_of_shared
from driftmoe.parts import OfParts
from driftmoe.transaction import Changes, carry_out, learning, publication
from driftmoe.trees.blocks import MAX_CLASS
from driftmoe.trees.pool import TreePool

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class HoeffdingTreeClassifier(OfParts, base.Classifier):
    """Hoeffding tree (VFDT) for numeric and nominal features, missing values, new features and new classes.

    It grows the same tree as river's class of the same name, but compiled; `driftmoe.trees` lists the differences. Text
    is nominal, all else numeric, unless named in `nominal_attributes`. A missing value is a missing key, `None` or NaN.

    Parameters
    ----------
    grace_period
        Weight that a leaf sees between two attempts to split; 0 for an attempt at every sample.
    max_depth
        Most splits above a leaf. A leaf at this depth only counts classes. `None` for no limit.
    split_criterion
        `"info_gain"`, `"gini"`, or `"hellinger"`, which looks at the first two classes only.
    delta
        Probability that an attempt to split chooses another feature than infinitely many samples would.
    tau
        If the Hoeffding bound is below this, the best split is taken even if the second best is close.
    leaf_prediction
        `"mc"` for the majority class, `"nb"` for naive Bayes, `"nba"` for the one that has been right more often.
    nb_threshold
        Weight from which a leaf with `"nb"` uses naive Bayes; it applies to `"nb"` alone.
    nominal_attributes
        Names of nominal features whose values look like numbers.
    binary_split
        Whether a nominal feature may only be split into one value and the rest.
    min_branch_fraction
        A split is valid if at least two of its branches have a larger share of the weight than this, 0 to 1.
    max_share_to_split
        A leaf whose majority class has a larger share than this, 0 to 1, does not split.
    max_nodes
        Most nodes, splits and leaves, at least 1; `None` for no limit. As the tree comes near the limit, the leaves
        with the least weight outside their majority class are the first that no longer split. All leaves go on
        learning.

    Attributes
    ----------
    classes
        Labels in the order in which they came.

    Raises
    ------
    ValueError
        By the constructor if a setting is out of range or would have no effect; by the methods if a number lies beyond
        ±1e100, or a label would be class 65 537. A refused sample changes nothing.
    TypeError
        By the constructor if a setting is of the wrong type; by the methods if a value is neither a number nor a text,
        or a feature changes from one to the other.

    Notes
    -----
    *Memory.* A leaf has 52 bytes for each feature and class, and 16 more for each value seen of each nominal feature
    and class, seen at this leaf or not: 41 kB for a feature of 256 values at 10 classes. So leave identifiers out, give
    rare values one name, or choose `max_nodes`. At most 256 values of a feature are told apart; later values share
    codes with them.

    References
    ----------
    Domingos & Hulten 2000, Mining high-speed data streams; Gama, Rocha & Medas 2003, Accurate decision trees for mining
    high-speed data streams.

    Examples
    --------
    >>> from driftmoe.trees import HoeffdingTreeClassifier
    >>> from river import datasets, evaluate, metrics
    >>> evaluate.progressive_val_score(datasets.Phishing(), HoeffdingTreeClassifier(), metrics.Accuracy())
    Accuracy: 87.99%
    """

    PARTS: ClassVar[tuple[str, ...]] = ("encoder", "pool")

    _encoder: Encoder
    _pool: TreePool

    def __init__(
        self,
        grace_period: float = 200,
        max_depth: int | None = None,
        split_criterion: str = "info_gain",
        delta: float = 1e-7,
        tau: float = 0.05,
        leaf_prediction: str = "nba",
        nb_threshold: float = 0,
        nominal_attributes: Iterable[Hashable] | None = None,
        binary_split: bool = False,
        min_branch_fraction: float = 0.01,
        max_share_to_split: float = 0.99,
        max_nodes: int | None = None,
    ) -> None:
        self.grace_period = grace_period
        self.max_depth = max_depth
        self.split_criterion = split_criterion
        self.delta = delta
        self.tau = tau
        self.leaf_prediction = leaf_prediction
        self.nb_threshold = nb_threshold
        self.nominal_attributes = nominal_attributes
        self.binary_split = binary_split
        self.min_branch_fraction = min_branch_fraction
        self.max_share_to_split = max_share_to_split
        self.max_nodes = max_nodes

        names = () if nominal_attributes is None else nominal_attributes
        if isinstance(names, str | Iterator) or not isinstance(names, Iterable):
            raise TypeError(  # a text would be split into letters, an iterator could be read only once
                f"nominal_attributes={nominal_attributes!r}; give the names of features in a list or a set"
            )
        super().__init__()
        if nb_threshold > 0 and leaf_prediction != "nb":
            raise ValueError(
                f"nb_threshold={nb_threshold} does not apply to leaf_prediction={leaf_prediction!r}, but to 'nb' "
                "alone; leave it out"
            )

    def _new_parts(self) -> tuple[Encoder, TreePool]:
        return Encoder(() if self.nominal_attributes is None else self.nominal_attributes), self.pool()

    def _check_fit(self, parts: Sequence[Any]) -> None:
        encoder, pool = parts
        nominal = [column for column in encoder.nominal_columns if column < pool.n_features]
        if (
            pool.n_experts != 1
            or pool.n_features > len(encoder.features)
            or pool.n_classes > len(encoder.classes)
            or pool.nominal_columns != nominal
        ):
            raise ValueError(
                f"the state of the pool has {pool.n_experts} trees, {pool.n_features} features and {pool.n_classes} "
                f"classes, and that of the encoder {len(encoder.features)} features and {len(encoder.classes)} "
                "classes; they are not of one tree"
            )

    def pool(self, n_experts: int = 1, **settings: Any) -> TreePool:
        """Return a pool of untrained trees with the settings of this tree; `settings` are arguments of `TreePool`."""
        own: dict[str, Any] = {
            "grace_period": self.grace_period,
            "delta": self.delta,
            "tau": self.tau,
            "max_depth": self.max_depth,
            "split_criterion": self.split_criterion,
            "leaf_prediction": self.leaf_prediction,
            "nb_threshold": self.nb_threshold,
            "binary_split": self.binary_split,
            "min_branch_fraction": self.min_branch_fraction,
            "max_share_to_split": self.max_share_to_split,
            "max_nodes": self.max_nodes,
        }
        return TreePool(n_experts, **own | settings)

    @property
    def classes(self) -> list[Hashable]:
        """Labels in the order in which they came."""
        return self._encoder.classes

    @property
    def n_shared_values(self) -> int:
        """Number of values in learnt samples that share a code, because their feature has 256 others."""
        return self._encoder.n_shared_values

    @property
    def _multiclass(self) -> bool:
        return True

    @property
    def n_nodes(self) -> int:
        """Number of nodes, splits and leaves."""
        return int(self._pool.n_nodes[0])

    @property
    def n_leaves(self) -> int:
        """Number of leaves."""
        return int(self._pool.n_leaves[0])

    @property
    def depth(self) -> int:
        """Number of splits on the longest path from the root."""
        return int(self._pool.depth[0])

    @learning
    def learn_one(self, x: Mapping[Any, Any], y: Hashable, *, w: float = 1.0) -> None:
        """Learn one sample.

        Parameters
        ----------
        x
            Feature name -> number, boolean or text; a missing value is `None`, NaN or a missing key.
        y
            Label, anything hashable but `None` and NaN.
        w
            Weight of the sample, 0 or more; a sample of weight 0 is ignored.
        """
        if not isinstance(w, int | float | np.integer | np.floating | np.bool_):
            raise TypeError(f"w={w!r} is of type {type(w).__name__}; give a number")
        if not 0.0 <= w <= MAX_ABSOLUTE:
            raise ValueError(f"w={w}; choose a finite weight of 0 or more")
        changes: Changes = []
        encoder = self._encoder
        target = encoder.target(y)
        vector = encoder.known_vector(x)
        if target is None or vector is None:
            check_label(y)
            sample = encoder.clean(x)
            if target is None and len(encoder.classes) > MAX_CLASS and w > 0.0:
                raise ValueError(
                    f"label {y!r} would be class {len(encoder.classes) + 1}; a tree tells {MAX_CLASS + 1} apart: "
                    "leave the sample out, or give rare labels one name"
                )
            if w > 0.0:
                is_new = target is None or encoder.is_new(sample)
                encoder = encoder.entered(sample, y) if is_new else copy.copy(encoder)
                encoder.n_shared_values += encoder.n_shared(sample)
                changes.append(publication(self._encoder, encoder))
                target, vector = encoder.target(y), encoder.vector(sample)
        if w > 0.0 and target is not None and vector is not None:
            targets, weights = np.array([[target]]), np.array([[float(w)]])
            self._pool.plan(
                vector[np.newaxis],
                targets,
                weights,
                target + 1,
                nominal=encoder.nominal_columns,
                changes=changes,
            )
            n_before, n_shared = self._encoder.n_shared_values, encoder.n_shared_values
            carry_out(changes)
            warn_of_shared(n_before, n_shared, encoder.full, stacklevel=_TO_CALLER)

    def predict_proba_one(  # type: ignore[override]  # river knows only three types of label
        self, x: Mapping[Any, Any]
    ) -> dict[Any, float]:
        """Return the probability of each label seen so far; all 0 where the leaf has no vote, empty before learning.

        Changes nothing. A value that was never learnt takes the branch that most samples took.
        """
        with self._lock:
            vector = self._encoder.known_vector(x)
            if vector is None:
                vector = self._encoder.vector(self._encoder.clean(x))
            if not self.classes:
                return {}
            proba = self._pool.predict_checked(vector[np.newaxis])[0, 0]
            return dict(zip(self.classes, proba.tolist(), strict=True))

    def _reader(self) -> Callable[[np.ndarray], np.ndarray]:
        """Return a function that gives the class probabilities of vectors; see `driftmoe.experts.prior`."""
        return lambda vectors: self._pool.predict_checked(vectors)[:, 0]

    def describe(self) -> str:
        """Return the tree as text, with one line per leaf or branch, indented by depth."""
        with self._lock:
            return self._pool.describe(**self._names())

    def draw(self, *, max_depth: int | None = None, ax: Axes | None = None) -> Axes:
        """Draw the tree from left to right, `max_depth` levels of splits or all, as `TreePool.draw` does."""
        with self._lock:
            return self._pool.draw(**self._names(), max_depth=max_depth, ax=ax)

    def _names(self) -> dict[str, Any]:
        """Return the names of columns, classes and values, for descriptions and drawings."""
        encoder = self._encoder
        return {"features": encoder.features, "classes": encoder.classes, "values": encoder.values}


_TO_CALLER = 3
"""Frames from a warning to the caller of `learn_one`, so that it names his line."""
