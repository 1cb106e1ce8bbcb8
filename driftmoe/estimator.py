"""The river interface of a mixture: predicting, learning, data frames, state."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from river import base
from river.utils.dataframe import to_native_series

from driftmoe.decisions import Decisions
from driftmoe.encoding import BlockRows, Columns, Encoder, Sample, SampleRows, check_label
from driftmoe.encoding.frames import (
    Frame,
    as_frame,
    checked_weights,
    cleaned_rows,
    column_values,
    frame_of_classes,
    frame_rows,
    number_block,
    objects,
    series_of_classes,
)
from driftmoe.explaining import Explained
from driftmoe.kept_plans import KeptPlans
from driftmoe.learning import Learner, predict, warn_of_left_out
from driftmoe.memory import n_bytes
from driftmoe.mixture import Mixture
from driftmoe.mixture.arguments import check_flag
from driftmoe.parts import OfParts
from driftmoe.recent import Recent
from driftmoe.reports import Reports
from driftmoe.rows import InRows, by_label
from driftmoe.transaction import learning

if TYPE_CHECKING:
    from narwhals.stable.v2.typing import IntoDataFrame, IntoSeries
    from torch import nn


class MixtureClassifier(InRows, Explained, Decisions, Reports, OfParts, base.MiniBatchClassifier):  # type: ignore[misc]  # as below: **kwargs
    """A river classifier that encodes samples for a mixture and decodes the answers.

    A subclass checks its arguments, and its `_new_parts` builds three parts from them: the encoder, which assigns
    columns and codes to features, values and classes, the mixture of experts and router, and the most recent samples.
    """

    PARTS: ClassVar[tuple[str, ...]] = ("encoder", "mixture", "recent")
    LATER: ClassVar[tuple[str, ...]] = ("recent",)

    _encoder: Encoder
    _mixture: Mixture
    _recent: Recent
    _plans: KeptPlans
    _columns: Columns | None
    """Columns of the last block. They belong to one encoder, and are not part of the model's state."""
    max_bytes: int | None = None
    """Bound on the memory of the model, kept whenever names are added; `None` for none."""
    prior: Any = None
    """A trained model that the mixture asks; `None` for none."""

    def predict_proba_one(self, x: Mapping[Any, Any]) -> dict[Any, float]:  # type: ignore[override]  # river's signature has **kwargs, which would swallow mistakes
        """Return the probability of each class learnt so far. Does not change the model.

        Parameters
        ----------
        x
            A sample, as described in the class docstring.

        Returns
        -------
        proba
            {label: probability}, in [0, 1] and summing to 1; empty before the first `learn_one`.

        Raises
        ------
        TypeError, ValueError
            If the sample cannot be read; see the class docstring.
        """
        with self._lock:
            classes, proba = self._proba_of_one(x)
            return dict(zip(classes, proba.tolist(), strict=True))

    @learning
    def arrive_one(self, x: Mapping[Any, Any]) -> dict[Any, float]:
        """Predict a sample whose label will come later, and keep what the experts say of it until then.

        Call it in the place of `predict_proba_one` where labels are late: other samples are learnt between a sample and
        its label. `learn_one`, with equal features, then lets the gate learn from what the experts said when they were
        asked. Without it the gate judges them by what they say just before the label, when they have learnt the labels
        of similar samples, and trusts those who follow the last labels too much.

        Where nothing is learnt in between it makes no difference. At most `max_waiting` samples are kept; where more
        wait, some are given up and learnt as others. Models other than `"driftmoe"` keep nothing, and no model before
        its first `learn_one`. In a pipeline of river, whose steps may give other features when the label comes, it is
        not called. `decide_one` chooses the label.

        Parameters
        ----------
        x
            A sample, as described in the class docstring.

        Returns
        -------
        proba
            As `predict_proba_one` returns it.

        Raises
        ------
        TypeError, ValueError
            If the sample cannot be read. The model is then unchanged.

        Examples
        --------
        >>> from driftmoe import DriftMoEClassifier
        >>> model = DriftMoEClassifier(seed=1)
        >>> model.learn_one({"x": 0.0}, "no")
        >>> first, second = model.arrive_one({"x": 1.0}), model.arrive_one({"x": 2.0})
        >>> first == model.predict_proba_one({"x": 1.0})
        True
        >>> model.learn_one({"x": 1.0}, "yes")
        >>> model.n_waiting
        1
        """
        mixture = self._mixture
        if not mixture.arrivals.most or not mixture.log.n_samples:
            classes, proba = self._proba_of_one(x)
        else:
            classes, proba = self._encoder.classes, self._plans.arrive(*self._row_of(x))
        return dict(zip(classes, proba.tolist(), strict=True))

    @property
    def keeps_arrivals(self) -> bool:
        """Whether `arrive_one` keeps anything of a sample."""
        return self._mixture.arrivals.most > 0

    @property
    def n_waiting(self) -> int:
        """Number of samples of which something is kept until their labels come; see `arrive_one`."""
        return self._mixture.arrivals.n_waiting

    @learning
    def learn_one(self, x: Mapping[Any, Any], y: Hashable, w: float = 1.0) -> None:
        """Learn one labelled sample, completely or not at all. No error or interrupt leaves the model half changed.

        Parameters
        ----------
        x
            A sample, as described in the class docstring.
        y
            Its label: any hashable value except `None` and NaN.
        w
            Weight of the sample, from 0 to 1e15. A sample of weight 0 is not learnt. Trees and the scaling of features
            count the sample `w` times, the router and networks multiply its error by `w`, and neighbours weight its
            vote.

        Raises
        ------
        TypeError, ValueError
            If the sample, the label or the weight cannot be read. The model is then unchanged.
        """
        weights = _ONE if type(w) is float and w == 1.0 else checked_weights([w])
        target = self._encoder.target(y)
        vector = None if self._mixture.reads_samples else self._encoder.known_vector(x)
        is_first = not self._mixture.log.n_samples
        if target is None or vector is None or is_first:
            check_label(y)
            sample = self._encoder.clean(x)
            if target is None or is_first or self._mixture.reads_samples or self._encoder.is_noted(sample):
                self._learn_rows(SampleRows(self._encoder, [sample], [y]), weights)
                return
            vector = self._encoder.vector(sample)
        if w > 0.0:
            self._plans.learn(vector, target, weights[0])

    @learning
    def learn_many(
        self,
        X: IntoDataFrame,
        y: IntoSeries | IntoDataFrame | Sequence[Hashable],
        w: IntoSeries | IntoDataFrame | Sequence[float] | None = None,
    ) -> None:
        """Learn the rows of a frame in order. The result equals that of `learn_one` on each row.

        Parameters
        ----------
        X
            Any eager frame (pandas, polars, pyarrow, ...), shape (n_samples, n_features). Nulls and NaN are missing.
        y
            One label per row: a series, list, array of shape (n_samples,) or (n_samples, 1), or a one-column frame.
        w
            One weight per row, as in `learn_one`; default 1.

        Raises
        ------
        TypeError, ValueError
            If `X` is not a frame, `y` is not one column, a row cannot be read or lengths differ. No row is then learnt.

        Notes
        -----
        Ctrl-C and other interrupts are delayed until the last row has been learnt.
        """
        labels, frame = column_values(y), as_frame(X)
        if len(labels) != len(frame):
            raise ValueError(f"X has {len(frame)} rows and y has {len(labels)} labels; give one label a row")
        weights = np.ones(len(labels)) if w is None else checked_weights(column_values(w, "w"))
        if len(weights) != len(labels):
            raise ValueError(
                f"X has {len(labels)} rows and w has {len(weights)} weights; give one weight a row"
            )
        for label in labels:
            check_label(label)
        block = None if self._mixture.reads_samples else number_block(frame)
        if block is not None:
            classes = {label: i for i, label in enumerate(dict.fromkeys(labels))}
            targets = np.array([classes[label] for label in labels], np.int64)
            names = frame.columns
            try:
                rows = self._block_rows(block, targets, names, [None] * len(names), list(classes))
            except (TypeError, ValueError):
                pass  # the code below finds the row that cannot be read
            else:
                self._learn_rows(rows, weights)
                return
        samples = cleaned_rows(frame_rows(frame), self._encoder, labels, weights)
        self._learn_rows(SampleRows(self._encoder, samples, labels), weights)

    @learning
    def step_many(
        self,
        X: np.ndarray,
        y: np.ndarray,
        *,
        names: Sequence[Hashable],
        values: Sequence[Sequence[Any] | None],
        classes: Sequence[Hashable],
        w: Sequence[float] | np.ndarray | None = None,
        awaits: bool = False,
    ) -> list[Any]:
        """Test, then train, on each row of a block in turn, like `predict_one` followed by `learn_one`.

        Parameters
        ----------
        X
            float64, shape (n_samples, len(names)); NaN where a value is missing.
        y
            Index of each row's label in `classes`, shape (n_samples,).
        names
            Feature of each column.
        values
            For each column the list of nominal values that its numbers index, or `None` if the column is numeric.
        classes
            Labels.
        w
            One weight per row, as in `learn_one`; default 1. A row of weight 0 is predicted but not learnt.
        awaits
            Whether the labels of rows of weight 0 will come in later rows: then they are predicted as by `arrive_one`.

        Returns
        -------
        labels
            The label predicted for each row before it was learnt; `None` while no class was known.

        Raises
        ------
        TypeError, ValueError
            If a value or a label cannot be read. Then no row is learnt.
        """
        check_flag("awaits", awaits)
        rows = self._block_rows(X, y, names, values, classes)
        weights, answers = _weights_of(y, w), np.full(len(y), -1)
        self._learn_rows(rows, weights, answers, awaits=weights == 0.0 if awaits else None)
        return [self._encoder.classes[target] if target >= 0 else None for target in answers.tolist()]

    @learning
    def step_proba_many(
        self,
        X: np.ndarray,
        y: np.ndarray,
        *,
        names: Sequence[Hashable],
        values: Sequence[Sequence[Any] | None],
        classes: Sequence[Hashable],
        w: Sequence[float] | np.ndarray | None = None,
        awaits: bool = False,
    ) -> tuple[list[Any], list[dict[Any, float]]]:
        """Test, then train, on each row of a block as in `step_many`. Return the probabilities beside the labels.

        Returns
        -------
        labels
            As `step_many` returns them.
        proba
            {label: probability} for each row before it was learnt; empty while no class was known.
        """
        check_flag("awaits", awaits)
        rows = self._block_rows(X, y, names, values, classes)
        weights, answers = _weights_of(y, w), np.full(len(y), -1)
        proba = [np.empty(0)] * len(y)
        self._learn_rows(rows, weights, answers, proba, awaits=weights == 0.0 if awaits else None)
        known = self._encoder.classes
        labels = [known[target] if target >= 0 else None for target in answers.tolist()]
        return labels, by_label(proba, known)

    def predict_proba_many(self, X: IntoDataFrame) -> IntoDataFrame:
        """Return the class probabilities of each row, as a frame of the same library with a column per class.

        Before the first `learn_one` there are no columns. pandas names columns by the labels, others by their text.

        Raises
        ------
        ValueError
            If two labels have the same text, or one is not valid Unicode; not for pandas.
        """
        frame = as_frame(X)
        return frame_of_classes(*self._predict_frame(frame), like=frame)

    def predict_many(self, X: IntoDataFrame) -> IntoSeries:
        """Return the predicted class of each row, as in `predict_one`, as a series of the same library as the frame.

        A pandas series holds any labels. The type of a polars or pyarrow series must fit all labels learnt so far.
        Tuples become lists there.

        Raises
        ------
        ValueError
            If the labels learnt so far do not fit into one series of that library.
        """
        frame = as_frame(X)
        classes, proba = self._predict_frame(frame)
        if not classes:
            return to_native_series([None] * len(proba), name=None, like=frame)
        targets = self._chosen(proba, classes)
        if not frame.implementation.is_pandas_like():
            return series_of_classes(classes, frame)[targets.tolist()].to_native()
        labels = [classes[target] for target in targets]
        answer: Any = to_native_series(labels, name=None, like=frame)
        if answer.to_list() != labels:  # numbers of one kind
            answer = to_native_series(objects(labels), name=None, like=frame)
        return answer

    @property
    def n_ignored_values(self) -> int:
        """Number of values in learnt samples that were ignored, beyond `max_features` or `max_bytes`."""
        return self._encoder.n_ignored_values

    @property
    def n_ignored_samples(self) -> int:
        """Number of samples that were not learnt, because their label is beyond `max_classes` or `max_bytes`."""
        return self._encoder.n_ignored_samples

    @property
    def n_shared_values(self) -> int:
        """Number of values in learnt samples that share a code, because their feature has 256 others."""
        return self._encoder.n_shared_values

    @property
    def router(self) -> nn.Module:
        """The router as a torch module that shares its weights: `driftmoe.mixture.router_module.RouterModule`."""
        return self._mixture.router.module()

    @property
    def _raw_memory_usage(self) -> int:
        # Plans are work space, which has a bound of its own, see `KeptPlans`: a copy of the model does not have it.
        # Models share a prior, so that none of them has it.
        priors = [] if self.prior is None else [self.prior, self.prior._shared]
        return n_bytes(self, without=[self._plans, *priors])

    def _proba_of_one(self, x: Mapping[Any, Any]) -> tuple[list[Hashable], np.ndarray]:
        encoder, (vector, samples) = self._encoder, self._row_of(x)
        if not encoder.classes:
            return [], np.empty(0)
        if self._mixture.reads_samples:
            return encoder.classes, self._predict(vector[np.newaxis], samples)[0]
        return encoder.classes, self._plans.predict(vector)

    def _row_of(self, x: Mapping[Any, Any]) -> tuple[np.ndarray, list[Sample]]:
        """Return the vector of a sample, and the sample itself where the mixture reads it or it is unusual."""
        encoder = self._encoder
        vector = None if self._mixture.reads_samples else encoder.known_vector(x)
        if vector is not None:
            return vector, []
        sample = encoder.clean(x)
        return encoder.vector(sample), [encoder.order(sample)]

    def _reader(self) -> Callable[[np.ndarray], np.ndarray]:
        """Return a function that gives the class probabilities of vectors, for one thread; see `Prior`."""
        plans = KeptPlans(self._encoder, self._mixture, self._recent)

        def proba(vectors: np.ndarray) -> np.ndarray:
            return plans.predict(vectors[0])[np.newaxis] if len(vectors) == 1 else self._predict(vectors, [])

        return proba

    def _state(self) -> dict[str, Any]:
        return {name: value for name, value in super()._state().items() if name not in ("_plans", "_columns")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._adopt([getattr(self, f"_{name}") for name in self.PARTS])

    def _check_fit(self, parts: Sequence[Any]) -> None:
        encoder, mixture, recent = parts
        known = {
            "n_features": len(encoder.features),
            "n_inputs": encoder.n_inputs,
            "n_classes": len(encoder.classes),
        }
        for name, n in mixture.sizes().items():
            if n > known[name]:
                raise ValueError(
                    f"the state of the mixture has {name}={n} and that of the encoder {known[name]}; they are not of "
                    "one model"
                )
        recent.check_fit(encoder.values, known["n_classes"])
        pool = mixture.experts.pool
        if pool is not None:
            trees, nominal = pool.nominal_columns, encoder.nominal_columns
            if trees != [column for column in nominal if column < pool.n_features]:
                raise ValueError(
                    f"the state of the trees has nominal columns {trees} and that of the encoder {nominal}; they are "
                    "not of one model"
                )

    def _adopt(self, parts: Sequence[Any], **others: Any) -> None:
        plans = KeptPlans(*parts, max_bytes=self.max_bytes)
        super()._adopt(parts, _plans=plans, _columns=None, **others)

    def _block_rows(
        self,
        X: np.ndarray,
        y: np.ndarray,
        names: Sequence[Hashable],
        values: Sequence[Sequence[Any] | None],
        classes: Sequence[Hashable],
    ) -> BlockRows:
        rows = BlockRows(
            self._encoder, X, y, names=names, values=values, classes=classes, known=self._columns
        )
        if self.max_bytes is None:  # they may be as long as the caller's lists
            self._columns = rows.columns
        return rows

    def _predict_frame(self, frame: Frame) -> tuple[list[Hashable], np.ndarray]:
        """Return the classes, and their probabilities for each row of a frame, shape (n_samples, n_classes)."""
        with self._lock:
            return list(self._encoder.classes), self._proba_of_frame(frame)

    def _proba_of_frame(self, frame: Frame) -> np.ndarray:
        block = None if self._mixture.reads_samples else number_block(frame)
        samples: list[Sample] = []
        if block is not None:
            names = frame.columns
            vectors, _ = self._encoder.vectors(block, names, [None] * len(names))
        else:
            samples = [self._encoder.order(self._encoder.clean(row)) for row in frame_rows(frame)]
            vectors = np.array([self._encoder.vector(sample) for sample in samples])
        if not self._encoder.classes or not len(vectors):
            return np.empty((len(vectors), len(self._encoder.classes)))
        return self._predict(vectors, samples)

    def _learn_rows(
        self,
        rows: SampleRows | BlockRows,
        weights: np.ndarray,
        answers: np.ndarray | None = None,
        proba: list[np.ndarray] | None = None,
        *,
        awaits: np.ndarray | None = None,
    ) -> None:
        before = self._encoder.counts
        try:
            parts = self._encoder, self._mixture, self._recent
            bounds = self.max_bytes, self._costs
            Learner(*parts, rows, weights, answers, *bounds, proba, self._plans, awaits).run()
        finally:  # the counters tell later calls that a warning was given
            self._plans.settle()
            warn_of_left_out(before, self._encoder, self.max_bytes)

    def _predict(self, vectors: np.ndarray, samples: Sequence[Sample]) -> np.ndarray:
        return predict(self._encoder, self._mixture, self._recent, vectors, samples)

    @property
    def _multiclass(self) -> bool:
        return True


_ONE = np.ones(1)


def _weights_of(y: np.ndarray, w: Sequence[float] | np.ndarray | None) -> np.ndarray:
    """Return the weights of the rows of a block, 1 by default."""
    weights = np.ones(len(y)) if w is None else checked_weights(w)
    if len(weights) != len(y):
        raise ValueError(f"X has {len(y)} rows and w has {len(weights)} weights; give one weight a row")
    return weights
