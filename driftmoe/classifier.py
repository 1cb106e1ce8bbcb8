"""DriftMoEClassifier: the river estimator. It checks arguments, encodes samples, and asks and teaches a mixture."""

from __future__ import annotations

import reprlib
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from inspect import signature
from typing import TYPE_CHECKING, Any, ClassVar

import narwhals.stable.v2 as narwhals
import numpy as np
from river import base
from river.utils.dataframe import into_frame, to_native_frame, to_native_series

from driftmoe.arguments import NEEDS, Context, check_effects, check_values, unmet
from driftmoe.encoding import (
    MAX_ABSOLUTE,
    BlockRows,
    Columns,
    Encoder,
    Sample,
    SampleRows,
    check_label,
    clean,
)
from driftmoe.experts import HasTrees
from driftmoe.learning import Learner, plan_step, predict
from driftmoe.memory import n_bytes
from driftmoe.mixture import HEAD, MIXTURES, Mixture
from driftmoe.mixture.telemetry import RoutingReport
from driftmoe.transaction import Changes, OneAtATime, carry_out, learning
from driftmoe.trees import HoeffdingTreeClassifier, TreePool

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from narwhals.stable.v2.typing import IntoDataFrame, IntoSeries
    from torch import nn

    from driftmoe.routing import Policy

VARIANTS = tuple(MIXTURES)

DEFAULTS: dict[str, Any] = {
    "n_experts": 12,
    "top_k": 3,
    "extras": ("neighbours", "relevant-neighbours", "history", "linear", "network", HEAD),
    "memory": 4096,
    "monitors": True,
    "gate": "learnt",
    "leverage": 6.0,
    "min_trust": 0.5,
    "hidden": (256, 128),
    "learning_rate": 2e-3,
    "batch_size": 256,
}
"""What an argument that is left out, `None`, stands for where it has an effect."""


class DriftMoEClassifier(OneAtATime, base.MiniBatchClassifier):
    """Online mixture of experts: a neural router co-trained with incremental trees and experts of other kinds.

    For each labelled sample every expert predicts first. The router, a small network, learns which experts to trust on
    which samples, and the experts learn the true label. Three parts respond to drift: a tree whose error rises is
    replaced, the neighbours look for past times like the present, and the gate moves weight to the experts that are
    right now.

    Parameters
    ----------
    variant
        How the experts share the work, and which of them answer.

        - `"driftmoe"`: `n_experts` trees and the `extras` learn every sample, the trees with Poisson weights. All vote.
          The gate weights each vote by the router's logit for the sample and by how well the expert has done lately.
          The router learns from the likelihood of the mixture.
        - `"moe-data"`: MoE-Data of the paper. The router learns which experts were right (the multi-hot correctness
          mask). The `top_k` experts that it trusts most learn a sample; the one that it trusts most answers.
        - `"moe-vote"`: as `"moe-data"`, but the `top_k` experts vote, weighted by the router.
        - `"moe-task"`: MoE-Task of the paper. There is one expert for each class, which tells this class from all
          others. It is created when the class first appears. Every expert learns every sample.

        The variant decides which other arguments apply, and some arguments decide about others. An argument that would
        have no effect is refused. `settings` holds those that are in force.
    expert
        River classifier that is copied `n_experts` times. Default: `driftmoe.trees.HoeffdingTreeClassifier` with
        `grace_period=200, delta=0.01`, or for the paper's variants with the paper's `grace_period=50, delta=1e-7`; both
        with at most 2000 nodes. Trees of this class share one pool, and one compiled call serves all of them, whatever
        their settings. Other river classifiers run at their own speed. The classifier must be multiclass, except in
        `"moe-task"`.
    n_experts
        Number of experts without the `extras`; default: 12. Not in `"moe-task"`.
    top_k
        Number of experts that learn a sample (and in `"moe-vote"` vote on it) if there is no `policy`; default: 3, or
        `n_experts` if that is less. Only in `"moe-data"` and `"moe-vote"`.
    policy
        Rule of `driftmoe.routing` that chooses, from the router's logits, which experts learn a sample and which vote
        on it, such as `TopP(0.9)`, `STREAM` or `WithNull(TopK(4), n_null=4)`. Default: all experts in `"driftmoe"`,
        `TopK(top_k)` in `"moe-data"` and `"moe-vote"`. In `"driftmoe"` it chooses the voters among the extras too, and
        the learners among the trees. In `"moe-data"` the expert with the largest weight answers. A null expert stands
        for "no expert needs to learn this sample", and is right where most experts are. The steps of `Scheduled` are
        mini-batches of the router. Rules that look for the first right expert (`STREAM`, `measure="first-right"`) fit
        `"moe-data"` and `"moe-vote"`, whose logits say which experts are right; the gate of `"driftmoe"` gives a
        softmax. Not in `"moe-task"`.
    correction
        Step by which the logits of the experts that were right on a sample rise for the next votes, and those of the
        others fall. It is forgotten after about 50 samples. Default: 0, as in the paper. Only in `"moe-data"` and
        `"moe-vote"`: the memories of `"driftmoe"` have the same effect. See `follow_right`.
    extras
        Experts of other kinds in `"driftmoe"`: names, or river classifiers (one expert each). Default: all names.

        - `"neighbours"`: four votes of k-nearest neighbours among up to 4096 past samples; older samples are kept at
          lower density. In three of the votes the distance grows with age, at three rates. The fourth leaves out times
          that were unlike the present, and uses them again when they return.
        - `"relevant-neighbours"`: the same, with features scaled by how well they separate the classes.
        - `"history"`: predicts from the previous label. It does not help when labels are delayed, but it does no harm.
        - `"linear"`: three logistic regressions with different step sizes.
        - `"network"`: a network with one hidden layer, which takes a gradient step on every sample.
        - `"head"`: class probabilities from the router's own network.
    memory
        Number of samples that each kind of neighbours remembers at most, a multiple of 64; default: 4096.
    monitors
        Whether drift detectors watch the trees of `"driftmoe"` and replace them. It concerns
        `driftmoe.trees.HoeffdingTreeClassifier` only: other river classifiers are used as they are. Default: True.
    gate
        What the weights of the experts depend on in `"driftmoe"`: `"learnt"` (default), the router's logits and how
        well each expert has done lately; `"router"` or `"recency"`, one of the two; `"equal"`, neither, so that all
        votes count the same. The last three are controls for the first.
    leverage
        Mean of the Poisson weights with which the trees of `"driftmoe"` learn; default: 6.
    min_trust
        In `"driftmoe"`, neighbours and river classifiers among the extras are asked for one sample in eight while their
        weight is below this share of what they would have if all experts counted the same. They go on learning, and
        are asked for every sample again as soon as the loss of the mixture rises. 0 asks them always; default: 0.5.
    hidden
        Widths of the router's hidden layers; default: (128, 64) in `"driftmoe"`, (256, 128) as in the paper otherwise.
        In `"driftmoe"` it applies if `gate` is `"learnt"` or `"router"`, or if the extras include `"head"`.
    learning_rate
        Step size of the router's optimiser (Adam), and of the gate; default: 0.002. With 0 the router stays as it was
        initialised, as a control. Not with `gate="equal"` without the `"head"`.
    batch_size
        Number of samples between two gradient steps of the router; default: 32 in `"driftmoe"`, 256 otherwise. Between
        the steps its weights are constant. Not with `gate="equal"` without the `"head"`.
    dropout
        Share of the router's hidden units that a gradient step silences, in [0, 1); default: 0. Not in `"driftmoe"`.
    n_threads
        Number of threads that share the trees when samples come in blocks. It does not change results. Experts other
        than `driftmoe.trees.HoeffdingTreeClassifier` use one thread, the default.
    seed
        Seed of the router's initial weights, of dropout, of the Poisson weights and of the experts' own seeds. With the
        same seed the same stream gives the same predictions in any process and on any processor.

    Raises
    ------
    TypeError
        If an argument has the wrong type.
    ValueError
        If an argument is out of range or would have no effect.

    Notes
    -----
    *Input.* A sample is a dict of numbers, booleans and text; text is nominal. `None`, NaN or an absent key is a
    missing value. Features, nominal values and classes may appear and disappear at any time. Infinite numbers, numbers
    beyond ±1e100, other types, and a feature that changes from number to text raise an error that names the feature and
    leaves the model unchanged. A label is any hashable value that equals itself, so not `None` or NaN. `True`, `1` and
    `1.0` are one label, as in Python. If an expert of your own raises on a valid sample, the error reaches you after
    all other experts have learnt the sample, and in a block after the remaining rows; only that expert may have learnt
    the sample in part.

    *Memory.* The names of features are kept for good. Leave identifiers out: they carry no information, and each leaf
    uses 16 bytes for each value seen and class. A feature with 256 values and ten classes took a third of a gigabyte
    after 6000 samples, and may take six times as much with the default of 2000 nodes a tree.
    `expert=HoeffdingTreeClassifier(max_nodes=200)` has a lower bound. The router's inputs are standardised online, with
    one column for each of the first 64 values of a nominal feature; later values share 64 more columns. Trees
    distinguish 256 values of a nominal feature; later ones share their places.

    *Method.* The equations, and what differs from the paper, stand with the mixtures:
    `driftmoe.mixture.AdaptiveMixture` for `"driftmoe"`, `driftmoe.mixture.CoTraining` for `"moe-vote"` and
    `"moe-data"`, `driftmoe.mixture.PerClass` for `"moe-task"`. `benchmarks/ablation.py` measures what each part adds
    and what it costs.

    *Cost.* A prediction asks all trees in one call, and of other experts `top_k` (`"moe-data"`: one). Learning asks all
    experts, and teaches `top_k` of them, or all in `"driftmoe"`. The router costs a few µs a sample, and one gradient
    step every `batch_size` samples. Each kind of neighbours costs about 10 µs for ten features where it is asked. The
    network is always asked and costs 1 to 3 µs, more with hundreds of inputs or classes. Blocks (`learn_many`,
    `step_many`, `driftmoe evaluate`) are several times faster than single samples and give the same model: the router's
    weights are constant between two of its steps, so that all rows in between go through it, and then through each
    tree, at once. `benchmarks/speed.py` measures it.

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

    _has_networks: ClassVar[bool] = False
    _own_defaults: ClassVar[dict[str, Any]] = {}
    """Defaults of a class where they are not those of its variants."""

    def __init__(
        self,
        variant: str = "driftmoe",
        *,
        expert: base.Classifier | None = None,
        n_experts: int | None = None,
        top_k: int | None = None,
        policy: Policy | None = None,
        correction: float = 0.0,
        extras: Sequence[str | base.Classifier] | None = None,
        memory: int | None = None,
        monitors: bool | None = None,
        gate: str | None = None,
        leverage: float | None = None,
        min_trust: float | None = None,
        hidden: tuple[int, ...] | None = None,
        learning_rate: float | None = None,
        batch_size: int | None = None,
        dropout: float = 0.0,
        n_threads: int = 1,
        seed: int | None = None,
    ) -> None:
        self.variant = variant
        self.expert = expert
        self.n_experts = n_experts
        self.top_k = top_k
        self.policy = policy
        self.correction = correction
        self.extras = extras
        self.memory = memory
        self.monitors = monitors
        self.gate = gate
        self.leverage = leverage
        self.min_trust = min_trust
        self.hidden = hidden
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.dropout = dropout
        self.n_threads = n_threads
        self.seed = seed
        self._check_arguments()
        super().__init__()

        router_rng, expert_rng = np.random.default_rng(seed).spawn(2)
        experts, nominal = self._new_experts(expert_rng)
        self._encoder = Encoder(nominal)
        self._columns: Columns | None = None  # of the last block; no part of the model's state
        self._mixture: Mixture = MIXTURES[variant].build(
            self._settings(), experts, router_rng=router_rng, expert_rng=expert_rng
        )

    def _new_experts(self, rng: np.random.Generator) -> tuple[Any, Iterable[Hashable]]:
        """Return the main experts, untrained, and the features that they are told are nominal."""
        return MIXTURES[self.variant].new_experts(self.expert, self._settings(), rng)

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments that have an effect, each as given or, where it was left out, its default."""
        context = self._context()
        return {
            name: self._setting(name)
            for name in signature(type(self)).parameters
            if unmet(name, context) is None
        }

    def _setting(self, name: str) -> Any:
        """Return an argument as given, or its default where it was left out."""
        value = getattr(self, name)
        if value is not None or name not in DEFAULTS:
            return value
        defaults = DEFAULTS | dict(MIXTURES[self.variant].DEFAULTS) | self._own_defaults
        return min(defaults[name], self._setting("n_experts")) if name == "top_k" else defaults[name]

    def _settings(self) -> dict[str, Any]:
        """Return all arguments, as given or by default."""
        return {name: self._setting(name) for name in signature(DriftMoEClassifier).parameters}

    def predict_proba_one(self, x: Mapping[Any, Any]) -> dict[Any, float]:  # type: ignore[override]  # river's signature has **kwargs, which would swallow mistakes
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
        with self._lock:
            vector, samples = self._read(x)
            if not self._encoder.classes:
                return {}
            proba = self._predict(vector[np.newaxis], samples)[0]
            return dict(zip(self._encoder.classes, proba.tolist(), strict=True))

    def predict_one(self, x: Mapping[Any, Any]) -> Any:  # type: ignore[override]  # as above
        """Return the most probable class, of equals the one learnt first; `None` before the first `learn_one`."""
        proba = self.predict_proba_one(x)
        return max(proba, key=proba.__getitem__) if proba else None

    @learning
    def learn_one(self, x: Mapping[Any, Any], y: Hashable, w: float = 1.0) -> None:
        """Learn one labelled sample, or none of it: whatever is raised, and whenever, the model is whole.

        Parameters
        ----------
        x
            A sample, as the class describes.
        y
            Its label: anything hashable but `None` and NaN.
        w
            Weight of the sample, 0 or more; one of weight 0 is not learnt. Trees and the scale of the features count it
            `w` times, the router and networks multiply its error, among neighbours its vote has that weight.

        Raises
        ------
        TypeError, ValueError
            If the sample, the label or the weight cannot be read; the model is left as it was.
        """
        weights = _checked_weights([w])
        with self._lock:
            target = self._encoder.target(y)
            vector = None if self._mixture.reads_samples else self._encoder.known_vector(x)
            if target is None or vector is None:
                check_label(y)
                self._learn_rows(SampleRows(self._encoder, [self._encoder.clean(x)], [y]), weights)
            elif w > 0.0:
                changes: Changes = []
                encoder, vectors, targets = self._encoder, vector[np.newaxis], np.array([target])
                plan_step(encoder, encoder, self._mixture, vectors, (), targets, weights, changes)
                carry_out(changes)

    @learning
    def learn_many(
        self,
        X: IntoDataFrame,
        y: IntoSeries | IntoDataFrame | Sequence[Hashable],
        w: IntoSeries | IntoDataFrame | Sequence[float] | None = None,
    ) -> None:
        """Learn the rows of a frame in order: the same as `learn_one` row by row.

        Parameters
        ----------
        X
            Any eager frame (pandas, polars, pyarrow, ...), shape (n_samples, n_features). Nulls and NaN are missing.
        y
            One label a row: a series, a list, an array of shape (n_samples,) or (n_samples, 1), or a frame of one
            column.
        w
            One weight a row, as of `learn_one`; 1 by default.

        Raises
        ------
        TypeError, ValueError
            If `X` is no frame, `y` has not one column, one row cannot be read, or the lengths differ; then no row has
            been learnt.

        Notes
        -----
        Ctrl-C and other interrupts are put off until the last row has been learnt.
        """
        with self._lock:
            self._learn_many(X, y, w)

    def _learn_many(self, X: IntoDataFrame, y: Any, w: Any) -> None:
        labels = _labels(y)
        if len(labels) != _n_rows(X):
            raise ValueError(f"X has {_n_rows(X)} rows and y has {len(labels)} labels; give one label a row")
        weights = np.ones(len(labels)) if w is None else _checked_weights(_labels(w, "w"))
        if len(weights) != len(labels):
            raise ValueError(
                f"X has {len(labels)} rows and w has {len(weights)} weights; give one weight a row"
            )
        for label in labels:
            check_label(label)
        block = None if self._mixture.reads_samples else _numbers(X)
        if block is not None:
            classes = {label: i for i, label in enumerate(dict.fromkeys(labels))}
            targets = np.array([classes[label] for label in labels], np.int64)
            names = _frame(X).columns
            try:
                rows = self._block_rows(block, targets, names, [None] * len(names), list(classes))
            except (TypeError, ValueError):
                pass  # below it is found out which row cannot be read
            else:
                return self._learn_rows(rows, weights)
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
    ) -> list[Any]:
        """Test, then train, on each row of a block in turn: what `predict_one` and then `learn_one` would do.

        Parameters
        ----------
        X
            float64, shape (n_samples, len(names)); NaN where a value is missing.
        y
            Index of each row's label in `classes`, shape (n_samples,).
        names
            Feature of each column.
        values
            For each column what its numbers stand for: a list that they are indices into, or `None` for themselves.
        classes
            Labels.
        w
            One weight a row, as of `learn_one`; 1 by default. A row of weight 0 is predicted all the same.

        Returns
        -------
        labels
            The label predicted for each row before it was learnt; `None` as long as no class was known.

        Raises
        ------
        TypeError, ValueError
            If a value or a label cannot be read; then no row has been learnt.
        """
        with self._lock:
            rows = self._block_rows(X, y, names, values, classes)
            weights = np.ones(len(y)) if w is None else _checked_weights(w)
            if len(weights) != len(y):
                raise ValueError(
                    f"X has {len(y)} rows and w has {len(weights)} weights; give one weight a row"
                )
            answers = np.full(len(y), -1)
            self._learn_rows(rows, weights, answers)
            return [self._encoder.classes[target] if target >= 0 else None for target in answers.tolist()]

    def predict_proba_many(self, X: IntoDataFrame) -> IntoDataFrame:
        """Return the class probabilities of each row, as a frame of the same kind with a column per class.

        Before the first `learn_one` the frame has no columns. Frames other than pandas' name a column by the text of
        its label.

        Raises
        ------
        ValueError
            If the frame is not of pandas, and two labels have the same text or one has a text that is no Unicode.
        """
        labels, proba = self._predict_frame(X)
        frame = _frame(X)
        is_pandas = frame.implementation.is_pandas_like()
        if not is_pandas:
            _check_texts(labels)
        columns = {label: proba[:, i].tolist() for i, label in enumerate(labels)}
        answer: Any = to_native_frame(columns, like=frame)
        if is_pandas and list(answer.columns) != labels:  # numbers of one kind, tuples of one length
            answer.columns = _objects(labels)
        return answer

    def predict_many(self, X: IntoDataFrame) -> IntoSeries:
        """Return the predicted class of each row, as a series of the same kind as the frame.

        A series of pandas holds any labels. One of polars or pyarrow has one type, that of all labels learnt so far,
        whichever of them are predicted; tuples become lists there.

        Raises
        ------
        ValueError
            If the labels learnt so far do not fit into one series of that kind.
        """
        classes, proba = self._predict_frame(X)
        frame = _frame(X)
        if not classes:
            return to_native_series([None] * len(proba), name=None, like=frame)
        targets = proba.argmax(axis=1)
        if not frame.implementation.is_pandas_like():
            return _held(classes, frame)[targets.tolist()].to_native()
        labels = [classes[target] for target in targets]
        answer: Any = to_native_series(labels, name=None, like=frame)
        if answer.to_list() != labels:  # numbers of one kind
            answer = to_native_series(_objects(labels), name=None, like=frame)
        return answer

    def routing_report(self) -> RoutingReport:
        """Return what the routing did on the samples learnt so far, and on the last of them; changes nothing.

        Returns
        -------
        report
            `report.window` and `report.cumulative`: experts used, entropy, null experts, what the best single expert
            would have done, and usage, weight and accuracy of each expert. What an expert says of a sample counts
            as it was before the sample was learnt.

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
            return self._mixture.log.report(names, n_replaced)

    def describe(self, expert: int = 0) -> str:
        """Return one of the trees as text, one line a leaf or branch, indented by depth; changes nothing.

        Parameters
        ----------
        expert
            Which of the trees, counted from 0, in the order of `routing_report().cumulative.experts`. In `"moe-task"`
            that is the order in which the classes came; a tree there tells its class from all others.

        Returns
        -------
        text
            Features, values and classes have their own names.

        Raises
        ------
        TypeError
            If the experts are no `driftmoe.trees.HoeffdingTreeClassifier`, or `expert` is no integer.
        ValueError
            If there is no such tree.

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
        """Draw one of the trees from left to right; changes nothing.

        Parameters
        ----------
        expert
            Which of the trees, as for `describe`.
        max_depth
            Splits from the root on which are drawn; `None` for all.
        ax
            Where to draw; a new figure as large as the tree needs by default.

        Returns
        -------
        ax
            Where it was drawn.

        Raises
        ------
        TypeError
            If the experts are no `driftmoe.trees.HoeffdingTreeClassifier`, or `expert` is no integer.
        ValueError
            If there is no such tree, or `max_depth` is negative.
        """
        with self._lock:
            pool, names = self._tree(expert)
            return pool.draw(expert, **names, max_depth=max_depth, ax=ax)

    @property
    def router(self) -> nn.Module:
        """The router as a torch module that shares its weights: `driftmoe.mixture.router_module.RouterModule`."""
        return self._mixture.router.module()

    def _tree(self, expert: int) -> tuple[TreePool, dict[str, Any]]:
        """Return the trees, of which `expert` is one, and the names of its columns, classes and values."""
        experts, labels = self._mixture.experts, self._encoder.classes
        if not isinstance(experts, HasTrees):
            kind = "networks" if experts.kind == "network" else f"copies of {experts.kind}"
            raise TypeError(
                f"the experts of this model are {kind}; only trees of driftmoe.trees.HoeffdingTreeClassifier, the "
                "default, can be described and drawn"
            )
        if not isinstance(expert, int | np.integer) or isinstance(expert, bool):
            raise TypeError(f"expert={expert!r} is of type {type(expert).__name__}; give an integer")
        n_trees = experts.pool.n_experts
        if not 0 <= expert < n_trees:
            allowed = f"choose 0 <= expert < {n_trees}" if n_trees else "there is one for each class learnt"
            raise ValueError(f"expert={expert} but there are {n_trees} trees; {allowed}")
        classes = self._mixture.classes_of(expert, labels)
        return experts.pool, {
            "features": self._encoder.features, "classes": classes, "values": self._encoder.values
        }  # fmt: skip

    def _get_params(self) -> dict[str, Any]:
        # river takes the first item of a tuple for a class, also of a tuple that has none.
        return {name: [] if value == () else value for name, value in super()._get_params().items()}

    def _read(self, x: Mapping[Any, Any]) -> tuple[np.ndarray, list[Sample]]:
        """Return the vector of a sample, and what river experts read of it, for predicting."""
        vector = None if self._mixture.reads_samples else self._encoder.known_vector(x)
        if vector is not None:
            return vector, []
        sample = self._encoder.clean(x)
        return self._encoder.vector(sample), [self._encoder.order(sample)]

    def _state(self) -> dict[str, Any]:
        return super()._state() | {"_columns": None}

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
        self._columns = rows.columns
        return rows

    def _predict_frame(self, X: IntoDataFrame) -> tuple[list[Hashable], np.ndarray]:
        """Return the classes, and their probabilities for the rows of a frame, shape (n_samples, n_classes)."""
        with self._lock:
            return list(self._encoder.classes), self._proba_of_frame(X)

    def _proba_of_frame(self, X: IntoDataFrame) -> np.ndarray:
        block = None if self._mixture.reads_samples else _numbers(X)
        samples: list[Sample] = []
        if block is not None:
            names = _frame(X).columns
            vectors, _ = self._encoder.vectors(block, names, [None] * len(names))
        else:
            samples = [self._encoder.order(self._encoder.clean(row)) for row in _rows(X)]
            vectors = np.array([self._encoder.vector(sample) for sample in samples])
        if not self._encoder.classes or not len(vectors):
            return np.empty((len(vectors), len(self._encoder.classes)))
        return self._predict(vectors, samples)

    def _learn_rows(
        self, rows: SampleRows | BlockRows, weights: np.ndarray, answers: np.ndarray | None = None
    ) -> None:
        Learner(self._encoder, self._mixture, rows, weights, answers).run()

    def _predict(self, vectors: np.ndarray, samples: Sequence[Sample]) -> np.ndarray:
        return predict(self._encoder, self._mixture, vectors, samples)

    def _check_arguments(self) -> None:
        if self.variant not in VARIANTS:
            raise ValueError(f"variant={self.variant!r}; available: {', '.join(VARIANTS)}")
        check_values(self._settings())
        context = self._context()
        check_effects({name: getattr(self, name) for name in {**NEEDS, **context.without}}, context)
        n_experts, top_k = self._setting("n_experts"), self._setting("top_k")
        if top_k > n_experts:
            raise ValueError(
                f"top_k={top_k} but there are {n_experts} experts; choose 1 <= top_k <= {n_experts}"
            )

    def _context(self) -> Context:
        """Return what decides which arguments have an effect."""
        is_tree = self.expert is None or isinstance(self.expert, HoeffdingTreeClassifier)
        without = MIXTURES[self.variant].WITHOUT
        extras = () if "extras" in without else self._setting("extras")
        return Context(
            variant=self.variant,
            without=without,
            expert="HoeffdingTreeClassifier" if self.expert is None else type(self.expert).__name__,
            has_trees=is_tree and not self._has_networks,
            has_networks=self._has_networks,
            policy=self.policy,
            extras=tuple(extra if isinstance(extra, str) else type(extra).__name__ for extra in extras),
            n_classifiers=sum(not isinstance(extra, str) for extra in extras),
            gate=DEFAULTS["gate"] if "gate" in without else self._setting("gate"),
            hidden=self._setting("hidden"),
            learning_rate=self._setting("learning_rate"),
        )

    @property
    def _multiclass(self) -> bool:
        return True

    @property
    def _raw_memory_usage(self) -> int:
        """Bytes of the whole model: Python objects, arrays and tensors, each once."""
        return n_bytes(self)

    @classmethod
    def _unit_test_params(cls) -> Iterator[dict[str, Any]]:
        for variant, mixture in MIXTURES.items():
            sizes = {} if "n_experts" in mixture.WITHOUT else {"n_experts": 3}
            yield {"variant": variant, "hidden": (8,), "batch_size": 16, **sizes}


def _frame(X: IntoDataFrame) -> narwhals.DataFrame[Any]:
    """Return a frame as narwhals has it, or say what to give."""
    try:
        return into_frame(X)
    except narwhals.exceptions.DuplicateError as error:
        raise ValueError(
            f"X has two columns of one name, which make one feature: {error}; rename one"
        ) from None
    except TypeError:
        kind = f"numpy array of shape {X.shape}" if isinstance(X, np.ndarray) else type(X).__name__
        raise TypeError(
            f"X is a {kind}; give an eager frame (pandas, polars, pyarrow) with a column for each feature, such as "
            "pandas.DataFrame(X)"
        ) from None


def _held(classes: Sequence[Hashable], frame: narwhals.DataFrame[Any]) -> narwhals.Series[Any]:
    """Return the classes as a series of the frame's kind, or say that it would not give them back as they are."""
    try:
        series = narwhals.new_series(name="", values=classes, backend=narwhals.get_native_namespace(frame))
        held = [tuple(label) if isinstance(label, list) else label for label in series.to_list()]
    except (ArithmeticError, NotImplementedError, TypeError, ValueError):  # each library has its own
        held = []
    if held == list(classes):
        return series
    types = ", ".join(dict.fromkeys(type(label).__name__ for label in classes))
    kind = frame.implementation.value
    raise ValueError(
        f"labels {reprlib.repr(list(classes))} of type {types} do not fit into a series of {kind}, which holds "
        "values of one type that it knows, and integers of limited size; use predict_one, a pandas frame, or labels of "
        "one type, such as text"
    )


def _check_texts(labels: Sequence[Hashable]) -> None:
    """Raise unless the texts of the labels can name the columns of a frame that is not of pandas."""
    texts = list(map(str, labels))
    if len(set(texts)) < len(texts):
        raise ValueError(
            f"labels {reprlib.repr(list(labels))} are not told apart by their text, which such a frame has as names of "
            "its columns; use predict_proba_one, a pandas frame, or labels of one type"
        )
    for label, text in zip(labels, texts, strict=True):
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError(
                f"label {reprlib.repr(label)} has a text that is no Unicode, which such a frame cannot have as name of "
                "a column; use predict_proba_one, a pandas frame, or other labels"
            ) from None


def _objects(labels: Sequence[Hashable]) -> np.ndarray:
    """Return the labels as they are, which pandas then leaves so."""
    return np.fromiter(labels, object, len(labels))


def _numbers(X: IntoDataFrame) -> np.ndarray | None:
    """Return a frame of numbers as float64, NaN where a value is missing; `None` if it has other columns."""
    frame = _frame(X)
    if not all(dtype.is_numeric() or dtype == narwhals.Boolean for dtype in frame.schema.values()):
        return None
    block = frame.to_numpy()
    if block.dtype.kind in "fiu":
        return np.ascontiguousarray(block, np.float64)
    columns = [
        frame.get_column(name).cast(narwhals.Float64()).to_numpy() for name in frame.columns
    ]  # of several kinds
    return np.column_stack(columns) if columns else np.empty(frame.shape)


def _rows(X: IntoDataFrame) -> Iterator[dict[Hashable, Any]]:
    return _frame(X).iter_rows(named=True)  # type: ignore[return-value]  # dict is invariant in its keys


def _n_rows(X: IntoDataFrame) -> int:
    return len(_frame(X))


def _checked_weights(w: Sequence[Any] | np.ndarray) -> np.ndarray:
    """Return weights as float64, all finite and 0 or more."""
    if isinstance(w, np.ndarray):
        are_numbers = w.ndim == 1 and w.dtype.kind in "fiub"
    else:
        are_numbers = all(isinstance(one, int | float | np.integer | np.floating | np.bool_) for one in w)
    if not are_numbers:
        raise TypeError(f"w={reprlib.repr(w)}; give a number for each sample")
    try:
        weights = np.array(w, np.float64)
    except OverflowError:  # an integer of more than 300 digits
        weights = np.full(1, np.inf)
    is_right = (weights >= 0.0) & (weights <= MAX_ABSOLUTE)
    if not is_right.all():
        raise ValueError(
            f"w={weights[~is_right][0]}; choose finite weights of 0 or more, one for each sample"
        )
    return weights


def _labels(y: Any, name: str = "y") -> list[Hashable]:
    """Return the labels, or weights, of one column, as Python's own values where the column has them."""
    what = {"y": "label", "w": "weight"}[name]
    is_bytes = isinstance(y, str | bytes | bytearray | memoryview)
    if isinstance(y, Sequence) and not is_bytes:
        return list(y)
    table = narwhals.from_native(y, allow_series=True, pass_through=True)
    if isinstance(table, narwhals.DataFrame):
        if len(table.columns) != 1:
            raise ValueError(
                f"{name} is a {type(y).__name__} of {len(table.columns)} columns, "
                f"{', '.join(map(repr, table.columns[:5]))}{', ...' * (len(table.columns) > 5)}; give the one of the "
                f"{what}s"
            )
        return list(table.get_column(table.columns[0]).to_list())
    if isinstance(table, narwhals.Series):
        return list(table.to_list())
    if getattr(y, "num_columns", None) == 1:  # a batch of pyarrow
        return list(y.column(0).to_pylist())
    shape = getattr(y, "shape", None)
    if shape is not None and hasattr(y, "dtype") and hasattr(y, "tolist"):  # numpy, torch
        if len(shape) == 2 and shape[1] == 1:
            y = y[:, 0]
        elif len(shape) != 1:
            raise ValueError(
                f"{name} has shape {tuple(shape)}; give one {what} a row, shape (n_rows,) or (n_rows, 1)"
            )
        # Times in nanoseconds would become integers.
        return list(y) if getattr(y.dtype, "kind", "") in ("M", "m") else list(y.tolist())
    for method in ("to_pylist", "tolist"):  # arrays of pyarrow; array.array
        if hasattr(y, method) and not is_bytes and not hasattr(y, "columns"):  # nor a batch of rows
            return list(getattr(y, method)())
    raise TypeError(
        f"{name} is of type {type(y).__name__}, which is no column of {what}s; give a list, a series, an array, or "
        "a frame of one column"
    )
