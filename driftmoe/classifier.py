"""DriftMoEClassifier: the estimator, and the only file where router and experts meet."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from river import base, tree
from river.utils.dataframe import into_frame, to_native_frame, to_native_series

from driftmoe.encoding import Encoder, Sample, check_label, clean
from driftmoe.experts import MulticlassExperts, OneVsRestExperts
from driftmoe.router import Router
from driftmoe.routing import Routing, softmax, top_k

if TYPE_CHECKING:
    from narwhals.stable.v2.typing import IntoDataFrame, IntoSeries

VARIANTS = ("driftmoe", "moe-data", "moe-task")


class DriftMoEClassifier(base.MiniBatchClassifier):
    """Online mixture of experts: a neural router co-trained with incremental trees.

    For each labelled sample every expert votes first. The router, a small network, learns which of them were right (the
    multi-hot correctness mask); the `top_k` experts that the router trusts most on this sample learn the true label.
    So experts become specialists of the regions in which the router trusts them, and the router follows when the
    data drift.

    Parameters
    ----------
    variant
        How experts share the work and who answers.

        - `"driftmoe"`: experts know all classes; the `top_k` experts vote, weighted by the router.
        - `"moe-data"`: the paper's MoE-Data. The same, but the single expert that the router trusts most answers.
        - `"moe-task"`: the paper's MoE-Task. One expert per class (this class or not), created when the class first
          appears; every expert learns every sample. `n_experts` and `top_k` do not apply.
    expert
        River classifier to copy for each expert. Default: `tree.HoeffdingTreeClassifier(grace_period=50,
        delta=1e-7)`, as in the paper. It must be multiclass, except for `"moe-task"`.
    n_experts
        Number of experts.
    top_k
        Experts that learn (and in `"driftmoe"` vote on) a sample.
    hidden
        Widths of the router's hidden layers.
    learning_rate
        Step size of the router's optimiser (Adam).
    batch_size
        Samples between two gradient steps of the router. Between them its weights are constant.
    dropout
        Share of the router's hidden units silenced in a gradient step, in [0, 1).
    seed
        Source of the router's initial weights, of dropout, and of the experts' own seeds. With the same seed the
        same stream gives the same predictions in any process.

    Raises
    ------
    TypeError
        If an argument is of the wrong type.
    ValueError
        If an argument is out of range.

    Notes
    -----
    *Input.* A sample is a dict of numbers, booleans and text (nominal); `None`, NaN or an absent key is a missing
    value, and an empty dict is a sample of which everything is missing. Features, nominal values and classes may
    appear and vanish at any time. Infinite numbers, numbers beyond ±1e100, other types, and a feature that turns
    from number to text raise an error that names the feature, and leave the model as it was. Labels are anything
    hashable that equals itself, so not `None` or NaN; `True`, `1` and `1.0` are one label, as in Python. What an
    expert of your own raises on a valid sample comes through, and may leave that sample half learnt. The router sees
    numbers standardised online and one column for each of the first 64 values of a nominal feature; later values
    share 64 more. Names of features are kept for good, and trees keep every nominal value: leave identifiers out.

    *What follows the paper, and what does not.* The loop, the mask, the network and the defaults are the paper's:
    the fallback, too, that when no expert is right, the one that gives the true class most probability (of equals the
    first) is the router's target. Its inputs are standardised, which the paper does not say; on raw inputs, metres
    beside 0/1 flags, the network learns little. The gradient step computes dropout anew, where the published code keeps
    logits from before and so never applies it for MoE-Data; the default is therefore 0. An expert that has seen nothing
    has no vote, counts as wrong, and is never the one that answers while another has a vote.

    *MoE-Task.* In the published code the router's largest logit is the class, so that the experts never influence a
    prediction. Here they do, as the text describes: class *c* scores softmax(logits)_c × p_c, where p_c is what
    expert *c* says of its class, and the scores are normalised. An expert is right when it claims a sample of its
    class; where the expert of the true class does not claim it, that expert is the target all the same. So the mask
    is one-hot at the true class, whatever the experts say, as in the published code. To count the experts that
    rightly disown a sample as well is no help: those are right most easily whose class is farthest off, and the
    router learns to trust them. The router steps once a mini-batch, not once a sample as in the published MoE-Task.

    *Cost.* A prediction asks `top_k` experts (`"moe-data"`: one), learning asks all of them and teaches `top_k`; the
    router costs a few µs a sample, and one gradient step every `batch_size` samples.

    References
    ----------
    Aspis, Cajas Ordóñez, Suárez-Cetrulo and Simón Carbajo (2025). DriftMoE: A Mixture of Experts Approach to Handle
    Concept Drifts. arXiv 2507.18464.

    Examples
    --------
    >>> from river import datasets, evaluate, metrics
    >>> from driftmoe import DriftMoEClassifier
    >>> model = DriftMoEClassifier(n_experts=4, seed=1)
    >>> evaluate.progressive_val_score(datasets.Phishing().take(200), model, metrics.Accuracy()).get() > 0.7
    True
    """

    def __init__(
        self,
        variant: str = "driftmoe",
        *,
        expert: base.Classifier | None = None,
        n_experts: int = 12,
        top_k: int = 3,
        hidden: tuple[int, ...] = (256, 128),
        learning_rate: float = 2e-3,
        batch_size: int = 256,
        dropout: float = 0.0,
        seed: int | None = None,
    ) -> None:
        self.variant = variant
        self.expert = expert
        self.n_experts = n_experts
        self.top_k = top_k
        self.hidden = hidden
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.dropout = dropout
        self.seed = seed
        self._check_arguments()

        # An ensemble without members is falsy: compare with None.
        prototype = tree.HoeffdingTreeClassifier(grace_period=50, delta=1e-7) if expert is None else expert
        router_rng, expert_rng = np.random.default_rng(seed).spawn(2)
        self._encoder = Encoder()
        self._router = Router(
            0 if variant == "moe-task" else n_experts,
            hidden=tuple(hidden),
            learning_rate=learning_rate,
            batch_size=batch_size,
            dropout=dropout,
            rng=router_rng,
        )
        self._experts: MulticlassExperts | OneVsRestExperts = (
            OneVsRestExperts(prototype, expert_rng)
            if variant == "moe-task"
            else MulticlassExperts(prototype, n_experts, expert_rng)
        )

    def predict_proba_one(self, x: dict[base.typing.FeatureName, Any]) -> dict[base.typing.ClfTarget, float]:  # type: ignore[override]  # river's signature has **kwargs, which would swallow mistakes
        """Return the probability of each class learnt so far; changes nothing.

        Parameters
        ----------
        x
            A sample, as the class describes.

        Returns
        -------
        proba
            {label: probability}, in [0, 1] and summing to 1; empty before the first `learn_one`.

        Raises
        ------
        TypeError, ValueError
            If the sample cannot be read; see the class.
        """
        sample = self._encoder.order(self._encoder.clean(x))
        if not self._encoder.classes:
            return {}
        logits = self._router.logits(self._encoder.encode(sample))
        if isinstance(self._experts, OneVsRestExperts):
            proba = mix_own(softmax(logits), self._experts.predict_proba(sample))
        else:
            proba = self._vote(sample, top_k(logits, 1 if self.variant == "moe-data" else self.top_k))
        return dict(zip(self._encoder.classes, proba.tolist(), strict=True))  # type: ignore[arg-type]  # any hashable

    def predict_one(self, x: dict[base.typing.FeatureName, Any]) -> base.typing.ClfTarget | None:  # type: ignore[override]  # as above
        """Return the most probable class, of equals the one learnt first; `None` before the first `learn_one`."""
        proba = self.predict_proba_one(x)
        return max(proba, key=proba.__getitem__) if proba else None

    def learn_one(self, x: dict[base.typing.FeatureName, Any], y: base.typing.ClfTarget) -> None:
        """Learn one labelled sample.

        Parameters
        ----------
        x
            A sample, as the class describes.
        y
            Its label: anything hashable but `None` and NaN.

        Raises
        ------
        TypeError, ValueError
            If the sample or the label cannot be read; the model is left as it was.
        """
        check_label(y)
        self._learn(self._encoder.clean(x), y)

    def learn_many(self, X: IntoDataFrame, y: IntoSeries | Iterable[Hashable]) -> None:
        """Learn the rows of a frame in order: the same as `learn_one` row by row.

        Parameters
        ----------
        X
            Any eager frame (pandas, polars, pyarrow, ...), shape (n_samples, n_features). Nulls and NaN are missing.
        y
            One label a row.

        Raises
        ------
        TypeError, ValueError
            If one row cannot be read, or the lengths differ; then no row has been learnt.
        """
        kinds = dict(self._encoder.kinds)
        samples = []
        for i, row in enumerate(_rows(X)):
            try:
                samples.append(clean(row, kinds))
            except (TypeError, ValueError) as error:
                raise type(error)(f"row {i} of {_n_rows(X)}: {error}; no row has been learnt") from None
            kinds |= {
                name: "text" if isinstance(value, str) else "number" for name, value in samples[-1].items()
            }
        labels = _labels(y)
        if len(labels) != len(samples):
            raise ValueError(
                f"X has {len(samples)} rows and y has {len(labels)} labels; give one label a row"
            )
        for label in labels:
            check_label(label)
        for sample, label in zip(samples, labels, strict=True):
            self._learn(sample, label)

    def predict_proba_many(self, X: IntoDataFrame) -> IntoDataFrame:
        """Return the class probabilities of each row, as a frame of the same kind with a column per class.

        Before the first `learn_one` the frame has no columns. Frames other than pandas' name a column by the text of
        its label.

        Raises
        ------
        ValueError
            If two labels have the same text and the frame is not of pandas.
        """
        rows = [self.predict_proba_one(row) for row in _rows(X)]
        labels, frame = self._encoder.classes, into_frame(X)
        if not frame.implementation.is_pandas_like() and len(set(map(str, labels))) < len(labels):
            raise ValueError(
                f"classes {labels} are not told apart by their text, which such a frame has as names of its columns; "
                "use pandas, or predict_many"
            )
        columns = {label: [row[label] for row in rows] for label in labels}  # type: ignore[index]
        return to_native_frame(columns, like=frame)

    def predict_many(self, X: IntoDataFrame) -> IntoSeries:
        """Return the predicted class of each row, as a series of the same kind as the frame."""
        return to_native_series([self.predict_one(row) for row in _rows(X)], name=None, like=into_frame(X))

    def _learn(self, sample: Sample, y: Hashable) -> None:
        """One step of co-training: all experts vote, the chosen ones learn, the router learns who was right."""
        vector, target = self._encoder.learn(sample, y)
        sample = self._encoder.order(sample)
        n_classes = len(self._encoder.classes)
        if isinstance(self._experts, OneVsRestExperts):
            self._experts.grow(n_classes)
            self._router.grow(len(vector), n_classes)
            correct = np.arange(n_classes) == target
            self._experts.learn(sample, target)
        else:
            self._router.grow(len(vector), self.n_experts)
            routing = top_k(self._router.logits(vector), self.top_k)
            correct = correctness(self._experts.predict_proba(sample, n_classes), target)
            self._experts.learn(sample, target, np.flatnonzero(routing.mask))
        self._router.learn(vector, correct)

    def _vote(self, sample: Sample, routing: Routing) -> np.ndarray:
        """Mix the selected experts; ask the others only when none of these has a vote."""
        assert isinstance(self._experts, MulticlassExperts)
        n_classes = len(self._encoder.classes)
        proba = mix(
            routing.weights, self._experts.predict_proba(sample, n_classes, np.flatnonzero(routing.mask))
        )
        if not proba.any():
            everyone = np.full(self.n_experts, 1.0 / self.n_experts)
            proba = mix(everyone, self._experts.predict_proba(sample, n_classes))
        return proba if proba.any() else np.full(n_classes, 1.0 / n_classes)

    def _check_arguments(self) -> None:
        if self.variant not in VARIANTS:
            raise ValueError(f"variant={self.variant!r}; available: {', '.join(VARIANTS)}")
        if self.expert is not None and not isinstance(self.expert, base.Classifier):
            raise TypeError(
                f"expert={self.expert!r} is no river classifier; give one, such as tree.HoeffdingTreeClassifier()"
            )
        if self.expert is not None and not self.expert._multiclass and self.variant != "moe-task":
            raise ValueError(
                f"expert={type(self.expert).__name__} tells only two classes apart; wrap it in "
                "river.multiclass.OneVsRestClassifier, or choose variant='moe-task'"
            )
        for name, smallest in {"n_experts": 1, "top_k": 1, "batch_size": 1, "seed": 0}.items():
            value = getattr(self, name)
            if name == "seed" and value is None:
                continue
            if not isinstance(value, int | np.integer) or isinstance(value, bool):
                raise TypeError(f"{name}={value!r} is of type {type(value).__name__}; give an integer")
            if value < smallest:
                raise ValueError(f"{name}={value}; choose {name} >= {smallest}")
        if self.variant != "moe-task" and self.top_k > self.n_experts:
            raise ValueError(
                f"top_k={self.top_k} but there are {self.n_experts} experts; choose 1 <= top_k <= {self.n_experts}"
            )
        if not isinstance(self.hidden, tuple | list):
            raise TypeError(
                f"hidden={self.hidden!r}; give the width of each hidden layer, such as (256, 128)"
            )
        if not all(
            isinstance(width, int | np.integer) and not isinstance(width, bool) and width >= 1
            for width in self.hidden
        ):
            raise ValueError(f"hidden={self.hidden!r}; choose widths of at least 1, such as (256, 128)")
        for name in ("dropout", "learning_rate"):
            value = getattr(self, name)
            if not isinstance(value, int | float | np.number) or isinstance(value, bool):
                raise TypeError(f"{name}={value!r} is of type {type(value).__name__}; give a number")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout={self.dropout}; choose 0 <= dropout < 1")
        if not 0.0 < self.learning_rate < np.inf:
            raise ValueError(f"learning_rate={self.learning_rate}; choose a positive number, such as 0.002")

    @property
    def _multiclass(self) -> bool:
        return True

    @property
    def _raw_memory_usage(self) -> int:
        """Bytes of the whole model: Python objects, numpy arrays, and the router's tensors, unseen by river."""
        return super()._raw_memory_usage + self._router.n_bytes

    @classmethod
    def _unit_test_params(cls) -> Iterator[dict[str, Any]]:
        for variant in VARIANTS:
            yield {"variant": variant, "n_experts": 3, "top_k": 2, "hidden": (8,), "batch_size": 16}


def correctness(expert_proba: np.ndarray, target: int) -> np.ndarray:
    """Return which experts were right: the multi-hot mask that the router learns.

    An expert is right when the true class is the first of its most probable ones; one without a vote is not. When
    none is right, the one that gives the true class most probability (of equals the first) counts as right.

    Parameters
    ----------
    expert_proba
        Votes before learning, shape (n_experts, n_classes); a row of zeros is no vote.
    target
        Index of the true class.

    Returns
    -------
    correct
        bool, shape (n_experts,); at least one entry is true.

    References
    ----------
    DriftMoE (arXiv 2507.18464): the multi-hot correctness mask of MoE-Data.
    """
    correct = (expert_proba.argmax(axis=1) == target) & (expert_proba[:, target] > 0.0)
    if not correct.any():
        correct[expert_proba[:, target].argmax()] = True
    return correct


def mix(weights: np.ndarray, expert_proba: np.ndarray) -> np.ndarray:
    """Return the weighted mean of the experts that have a vote, in float64.

    Parameters
    ----------
    weights
        Mixing weights, shape (n_experts,).
    expert_proba
        Shape (n_experts, n_classes); a row of zeros is no vote.

    Returns
    -------
    proba
        Shape (n_classes,), summing to 1; zeros when no expert with a weight has a vote.
    """
    mixed = weights @ expert_proba
    total = mixed.sum()
    return mixed / total if total > 0.0 else mixed


def mix_own(weights: np.ndarray, own_proba: np.ndarray) -> np.ndarray:
    """Return class probabilities from one-vs-rest experts: router weight × own probability, normalised.

    Parameters
    ----------
    weights
        The router's softmax, shape (n_classes,).
    own_proba
        Each expert's probability that the sample is of its class, shape (n_classes,).

    Returns
    -------
    proba
        Shape (n_classes,), summing to 1; the router's weights alone when every expert disowns the sample.
    """
    scores = weights * own_proba
    if not scores.sum() > 0.0:
        scores = weights
    return scores / scores.sum()


def _rows(X: IntoDataFrame) -> Iterator[dict[Hashable, Any]]:
    return into_frame(X).iter_rows(named=True)  # type: ignore[return-value]  # dict is invariant in its keys


def _n_rows(X: IntoDataFrame) -> int:
    return len(into_frame(X))


def _labels(y: Any) -> list[Hashable]:
    for method in ("to_pylist", "to_list"):  # pyarrow; pandas and polars
        if hasattr(y, method):
            values: list[Hashable] = getattr(y, method)()
            return values
    return list(y)
