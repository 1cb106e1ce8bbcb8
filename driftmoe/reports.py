"""What a mixture tells of itself: statistics of the routing, what it noticed, and its trees as text and drawing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from driftmoe.encoding import Encoder
from driftmoe.mixture import Mixture
from driftmoe.mixture.events import Event, events_of
from driftmoe.mixture.routing_figures import RoutingReport
from driftmoe.transaction import OneAtATime
from driftmoe.trees import TreePool

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Reports(OneAtATime):
    """The reports of a classifier with an encoder and a mixture. They change nothing."""

    _encoder: Encoder
    _mixture: Mixture

    def routing_report(self) -> RoutingReport:
        """Return statistics of the routing, over all samples learnt so far and over the most recent ones.

        Returns
        -------
        report
            `report.window` and `report.cumulative`: experts used, entropy, share of null experts, accuracy of the best
            single expert, and usage, weight and accuracy of each expert. Votes precede the learning of the sample.

        Examples
        --------
        >>> from river import datasets
        >>> from driftmoe import DriftMoEClassifier
        >>> model = DriftMoEClassifier("moe-vote", n_experts=4, top_k=2, seed=1)
        >>> for x, y in datasets.Phishing():
        ...     model.learn_one(x, y)
        >>> report = model.routing_report()
        >>> report.cumulative.n_samples, report.cumulative.experts_used
        (1250, 2.0)
        >>> report.cumulative.experts
        ('tree 1', 'tree 2', 'tree 3', 'tree 4')
        """
        with self._lock:
            labels = self._encoder.classes
            names, n_replaced = self._mixture.expert_names(labels), self._mixture.n_replaced(len(labels))
            return replace(
                self._mixture.log.report(names, n_replaced),
                n_ignored_values=self._encoder.n_ignored_values,
                n_ignored_samples=self._encoder.n_ignored_samples,
                n_shared_values=self._encoder.n_shared_values,
            )

    def events(self, since: int = 0) -> list[Event]:
        """Return what the model noticed while it learnt: warnings, drifts, replaced trees, new classes and features.

        The detector watches the mixture's errors, each sample being predicted before it is learnt, and the mean errors
        of the trees that learn every sample. An alarm is a rise beyond chance. The method is a Shiryaev-Roberts
        procedure of bets (an e-detector), described in `driftmoe.mixture.watch`. The weights of samples do not count.

        Parameters
        ----------
        since
            Only events of later samples are returned: the `sample` of the last event seen.

        Returns
        -------
        events
            In the order of their samples, at most 100 of each kind, the last ones. `n_dropped_events` counts the
            others.

        Raises
        ------
        TypeError
            If `since` is not an integer.

        References
        ----------
        Shin, Ramdas & Rinaldo (2023). E-detectors: a nonparametric framework for sequential change detection.

        Examples
        --------
        >>> import random
        >>> from driftmoe import DriftMoEClassifier
        >>> model, numbers = DriftMoEClassifier(seed=1), random.Random(1)
        >>> for i in range(1600):
        ...     x = numbers.random()
        ...     model.learn_one({"x": x}, "high" if (x > 0.5) == (i < 1500) else "low")
        >>> for event in model.events()[:6]:
        ...     print(event.sample, event.kind, *event.names)
        1 new class low
        1 new feature x
        2 new class high
        1505 warning
        1506 drift
        1536 tree replaced tree 4
        >>> drift = model.events(since=1505)[0]
        >>> drift.kind, drift.since, round(drift.before, 3), drift.after
        ('drift', 1501, 0.007, 1.0)
        >>> [expert.expert for expert in drift.experts]
        ['tree 1', 'tree 3', 'tree 4']
        """
        if not isinstance(since, int | np.integer) or isinstance(since, bool):
            raise TypeError(f"since={since!r} is of type {type(since).__name__}; give the number of a sample")
        with self._lock:
            mixture, encoder = self._mixture, self._encoder
            return events_of(
                mixture.log.watch,
                int(since),
                experts=mixture.expert_names(encoder.classes),
                classes=encoder.classes,
                features=encoder.features,
            )

    @property
    def n_dropped_events(self) -> dict[str, int]:
        """How many events of each kind `events` no longer returns, because 100 newer ones of the kind have come."""
        with self._lock:
            return self._mixture.log.watch.n_dropped()

    @property
    def n_trees(self) -> int:
        """Number of trees that `describe` and `draw` can show; 0 if the experts are of another kind."""
        with self._lock:
            pool = self._mixture.experts.pool
            return 0 if pool is None else int(pool.n_experts)

    def describe(self, expert: int = 0) -> str:
        """Return one of the trees as text, one line per leaf or branch, indented by depth.

        Parameters
        ----------
        expert
            Index of the tree, from 0, as in `routing_report().cumulative.experts`. In `"moe-task"` there is one tree
            per class, in order of appearance, which separates it from all others.

        Returns
        -------
        text
            The tree, with the original names of features, values and classes.

        Raises
        ------
        TypeError
            If the experts are not `driftmoe.trees.HoeffdingTreeClassifier`, or `expert` is not an integer.
        ValueError
            If there is no tree with this index.

        Examples
        --------
        >>> from river import datasets
        >>> from driftmoe import DriftMoEClassifier
        >>> model = DriftMoEClassifier("moe-task", seed=1)
        >>> for x, y in datasets.Phishing():
        ...     model.learn_one(x, "phishing" if y else "fine")
        >>> print(model.describe(0))
        empty_server_form_handler <= 0.545455
        |   phishing 0.881, weight 503.293
        empty_server_form_handler > 0.545455
        |   popup_window <= 0.0909091
        |   |   phishing 0.512, weight 64.4265
        |   popup_window > 0.0909091
        |   |   not phishing 0.977, weight 256.573
        """
        with self._lock:
            pool, names = self._tree(expert)
            return pool.describe(expert, **names)

    def draw(self, expert: int = 0, *, max_depth: int | None = None, ax: Axes | None = None) -> Axes:
        """Draw one of the trees from left to right.

        Parameters
        ----------
        expert
            Index of the tree, as in `describe`.
        max_depth
            Number of levels of splits to draw, from the root; `None` for all.
        ax
            Axes to draw on; by default those of a new figure that fits the tree.

        Returns
        -------
        ax
            The axes with the drawing.

        Raises
        ------
        TypeError
            If the experts are not `driftmoe.trees.HoeffdingTreeClassifier`, or `expert` is not an integer.
        ValueError
            If there is no tree with this index, or `max_depth` is negative.
        """
        with self._lock:
            pool, names = self._tree(expert)
            return pool.draw(expert, **names, max_depth=max_depth, ax=ax)

    def _tree(self, expert: int) -> tuple[TreePool, dict[str, Any]]:
        """Return the pool that holds tree `expert`, and the names of the tree's features, classes and values."""
        pool, labels = self._mixture.experts.pool, self._encoder.classes
        if pool is None:
            raise TypeError(
                f"the experts of this model are of the kind {self._mixture.experts.kind!r}; only trees of "
                "driftmoe.trees.HoeffdingTreeClassifier can be described and drawn"
            )
        if not isinstance(expert, int | np.integer) or isinstance(expert, bool):
            raise TypeError(f"expert={expert!r} is of type {type(expert).__name__}; give an integer")
        n_trees = pool.n_experts
        if not 0 <= expert < n_trees:
            allowed = f"choose 0 <= expert < {n_trees}" if n_trees else "there is one for each class learnt"
            raise ValueError(f"expert={expert} but there are {n_trees} trees; {allowed}")
        classes = self._mixture.classes_of(expert, labels)
        return pool, {
            "features": self._encoder.features, "classes": classes, "values": self._encoder.values
        }  # fmt: skip
