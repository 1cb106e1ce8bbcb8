"""DriftMoEClassifier: the river estimator. It checks arguments, encodes samples, and asks and teaches a mixture."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from inspect import signature
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from river import base
from river.utils.dataframe import to_native_frame, to_native_series

from driftmoe.arguments import NEEDS, Context, check_effects, check_values, unmet
from driftmoe.encoding import (
    BlockRows,
    Columns,
    Encoder,
    Sample,
    SampleRows,
    check_label,
    clean,
)
from driftmoe.encoding.frames import as_frame as _frame
from driftmoe.encoding.frames import check_texts as _check_texts
from driftmoe.encoding.frames import checked_weights as _checked_weights
from driftmoe.encoding.frames import column_values as _labels
from driftmoe.encoding.frames import frame_rows as _rows
from driftmoe.encoding.frames import n_rows as _n_rows
from driftmoe.encoding.frames import number_block as _numbers
from driftmoe.encoding.frames import objects as _objects
from driftmoe.encoding.frames import series_of_classes as _held
from driftmoe.experts import MulticlassTrees
from driftmoe.memory import n_bytes
from driftmoe.mixing import first_best
from driftmoe.mixture import HEAD, MIXTURES, Batch, Mixture
from driftmoe.telemetry import RoutingReport
from driftmoe.transaction import (
    TRIES,
    Changes,
    OneAtATime,
    assignment,
    carry_out,
    learning,
    planned,
    publication,
)
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

MOST_TRIES = 3
"""How often a step is tried that raises an error; interrupts that are no errors are put off more often."""


class DriftMoEClassifier(OneAtATime, base.MiniBatchClassifier):
    """Online mixture of experts: a neural router co-trained with incremental trees and experts of other kinds.

    For each labelled sample every expert votes first. The router, a small network, learns whom to trust on which
    samples; the experts learn the true label. Drift is met three times: a tree whose error rises is replaced, the
    memory looks for times like the present, and the gate moves its trust to those who are right now.

    Parameters
    ----------
    variant
        How experts share the work and who answers.

        - `"driftmoe"`: `n_experts` trees and the `extras` all learn every sample, trees with Poisson weights; all vote,
          weighted by the gate: what the router says of the sample, and how well each expert has done lately. The router
          learns the likelihood of the mixture. See Notes.
        - `"moe-data"`: the paper's MoE-Data. The router learns which experts were right (the multi-hot correctness
          mask); the `top_k` experts that it trusts most learn a sample; the one that it trusts most answers.
        - `"moe-vote"`: the same, but the `top_k` experts vote, weighted by the router.
        - `"moe-task"`: the paper's MoE-Task. One expert per class (this class or not), created when the class first
          appears; every expert learns every sample.

        Which other arguments apply depends on this one, and some on others; one that is given and would have no effect
        is refused. `settings` says what is in force.
    expert
        What each of the `n_experts` is a copy of. Default: `driftmoe.trees.HoeffdingTreeClassifier` with
        `grace_period=200, delta=0.01`, or the paper's `grace_period=50, delta=1e-7` for the paper's variants, and a
        bound of 2000 nodes. Trees of this class, with whatever settings, live in one pool, all served by one compiled
        call; any other river classifier works too, at its own speed. It must be multiclass, except for `"moe-task"`.
    n_experts
        Number of experts, without `extras`; default: 12. Not in `"moe-task"`.
    top_k
        Experts that learn (and in `"moe-vote"` vote on) a sample, where no `policy` is given; default: 3, or all where
        there are fewer. In `"moe-data"` and `"moe-vote"` alone.
    policy
        Rule that chooses from the router's logits who learns a sample and who votes on it: any of `driftmoe.routing`,
        such as `TopP(0.9)`, `STREAM` or `WithNull(TopK(4), n_null=4)`. By default all in `"driftmoe"`, where it
        chooses among the extras, too, who vote, and among the trees, who learn; else `TopK(top_k)`. In
        `"moe-data"` the one of the largest weight answers. A null expert stands for "nobody needs to learn this": it is
        right where most experts are. `Scheduled` counts mini-batches of the router. Rules that look for the first
        right expert (`STREAM`, `measure="first-right"`) fit the routers of `"moe-data"` and `"moe-vote"`, whose logits
        say who is right; the gate of `"driftmoe"` gives a softmax. Does not apply to `"moe-task"`.
    correction
        Step by which the logits of those who were right on a sample rise for the next votes, and others' fall, until
        that is forgotten after about 50 samples; 0 is the paper's way. In `"moe-data"` and `"moe-vote"` alone: the
        memories of `"driftmoe"` do as much. See `follow_right`.
    extras
        Experts of other kinds in `"driftmoe"`: names, and river classifiers (one expert each); all names by default.

        - `"neighbours"`: four votes of the nearest of up to 4096 samples of the past, remembered the thinner the longer
          ago it is. For three of them samples move away with age, at three rates; the fourth leaves out times
          that were unlike the present, and takes them up again when they return. `"relevant-neighbours"` the same, with
          features scaled by how far they tell the classes apart.
        - `"history"`: the probability of a label given the last one. Leave it out where labels come late.
        - `"linear"`: three logistic regressions, which learn at three rates.
        - `"network"`: a network with one hidden layer, which takes a step on every sample.
        - `"head"`: class probabilities of the router's own network.
    memory
        Samples that each kind of neighbours among the `extras` remembers at most, a multiple of 64; default: 4096.
    monitors
        Whether the trees of `"driftmoe"` are watched for drift, and replaced: those of
        `driftmoe.trees.HoeffdingTreeClassifier`; river classifiers are taken as they are. Default: True.
    gate
        What the weights of the experts depend on in `"driftmoe"`: `"learnt"`, the default, what the router says of the
        sample and how well each expert has done lately; `"router"` or `"recency"`, one of both alone; `"equal"`,
        neither: all count alike. The others are controls for the first.
    leverage
        Mean of the Poisson weights with which trees learn in `"driftmoe"`; default: 6.
    min_trust
        In `"driftmoe"`, weight below which the neighbours, or a river classifier among the extras, are asked for one
        sample in eight only, as a share of what they would have if all counted alike; they go on learning, and are
        asked again as soon as the mixture's loss rises. 0 to ask always; default: 0.5.
    hidden
        Widths of the router's hidden layers; default: (128, 64) in `"driftmoe"`, else the paper's (256, 128). Applies
        where the router is asked: in `"driftmoe"` by the gate, if it is `"learnt"` or `"router"`, or for the `"head"`.
    learning_rate
        Step size of the router's optimiser (Adam), and of what the gate learns; default: 0.002. 0 leaves the router as
        it was drawn, the control for a learnt one. Not with `gate="equal"` without the `"head"`.
    batch_size
        Samples between two gradient steps of the router; default: 32 in `"driftmoe"`, else 256. Between them its
        weights are constant. Not with `gate="equal"` without the `"head"`.
    dropout
        Share of the router's hidden units silenced in a gradient step, in [0, 1); default: 0. Not in `"driftmoe"`.
    n_threads
        Threads that share the trees, where samples come in blocks. Results do not depend on it. Experts that are not
        `driftmoe.trees.HoeffdingTreeClassifier` run in one, the default.
    seed
        Source of the router's initial weights, of dropout, of Poisson weights, and of the experts' own seeds. With the
        same seed the same stream gives the same predictions in any process.

    Raises
    ------
    TypeError
        If an argument is of the wrong type.
    ValueError
        If an argument is out of range, or would have no effect.

    Notes
    -----
    *Input.* A sample is a dict of numbers, booleans and text (nominal); `None`, NaN or an absent key is a missing
    value, and an empty dict is a sample of which everything is missing. Features, nominal values and classes may appear
    and vanish at any time. Infinite numbers, numbers beyond ±1e100, other types, and a feature that turns from number
    to text raise an error that names the feature, and leave the model as it was. Labels are anything hashable that
    equals itself, so not `None` or NaN; `True`, `1` and `1.0` are one label, as in Python. What an expert of your own
    raises on a valid sample comes through when all others have learnt the sample, and in a block also the rows that
    follow; that expert alone may have learnt it in part. The router sees numbers standardised online and one column for
    each of the first 64 values of a nominal feature; later values share 64 more. Trees tell 256 values of a nominal
    feature apart; later ones share their places. Names of features are kept for good. Leave identifiers out: they tell
    nothing and cost memory, because each leaf has 16 bytes for each value seen and class. A feature of 256 values which
    told ten classes apart took a third of a gigabyte after 6000 samples, and may take six times that, where the default
    bound of 2000 nodes a tree holds; `expert=HoeffdingTreeClassifier(max_nodes=200)` has a lower one.

    *The adaptive variant.* With logits z_e(x) of the router, class probabilities p_e(y|x) of each expert, and two
    memories H_e of the expert's log-likelihood, fading over about 10 and 50 samples, the answer is sum_e g_e p_e with g
    = softmax_e (z_e(x) + a·H_e); router and a (two numbers) descend on -ln sum_e g_e p_e(y): the mixture of Jacobs et
    al. (1991), with likelihoods forgotten as in dynamic model averaging (Raftery et al. 2010). Trees learn a sample as
    often as a Poisson draw says (leveraging bagging, Bifet et al. 2010), and have two ADWINs each, which start a tree
    in the background and put it in place (adaptive random forests, Gomes et al. 2017). Neighbours are those of
    `driftmoe.neighbours.Neighbours`, linear models those of `driftmoe.linear.LinearModels`, the network is
    `driftmoe.perceptron.Perceptron`. Trees alone leave a router
    little to choose; what each part adds, and what it costs, is measured in `benchmarks/ablation.py`. A `policy` reads
    z_e(x) + a·H_e, with the memories as they were when the router last learnt.

    *What follows the paper, and what does not.* In the other variants the loop, the mask, the network and the defaults
    are the paper's: the fallback, too, that when no expert is right, the one that gives the true class most
    probability (of equals the first) is the router's target. Its inputs are standardised, which the paper does not
    say; on raw inputs, metres beside 0/1 flags, the network learns little. A sample is scaled by those before it. The
    gradient step computes dropout anew, where the published code keeps logits from before and so never applies it for
    MoE-Data; the default is therefore 0. An expert that has seen nothing has no vote, counts as wrong, and is never
    the one that answers while another has a vote.

    *MoE-Task.* In the published code the router's largest logit is the class, so that the experts never influence a
    prediction. Here they do, as the text describes: class *c* scores softmax(logits)_c × p_c, where p_c is what expert
    *c* says of its class, and the scores are normalised. An expert is right when it claims a sample of its class;
    where the expert of the true class does not claim it, that expert is the target all the same. So the mask is
    one-hot at the true class, whatever the experts say, as in the published code. To count the experts that rightly
    disown a sample as well is no help: those are right most easily whose class is farthest off, and the router learns
    to trust them. The router steps once a mini-batch, not once a sample as in the published MoE-Task.

    *Cost.* A prediction asks all trees in one call, and of other experts `top_k` (`"moe-data"`: one); learning asks all
    and teaches `top_k`, or all in `"driftmoe"`. The router costs a few µs a sample, and one gradient step every
    `batch_size` samples; each kind of neighbours, where it is asked, about 10 µs for ten features; the network, which
    is always asked, 1 to 3 µs, more with hundreds of inputs or classes. Blocks (`learn_many`, `step_many`,
    `driftmoe evaluate`) are several times faster than single samples and give the same model: the router's weights are
    constant between two of its steps, so that all rows in between go through it, and then through each tree, at once.
    `benchmarks/speed.py` has the figures.

    References
    ----------
    Aspis, Cajas Ordóñez, Suárez-Cetrulo and Simón Carbajo (2025). DriftMoE: A Mixture of Experts Approach to Handle
    Concept Drifts. arXiv 2507.18464.

    Jacobs, Jordan, Nowlan and Hinton (1991). Adaptive mixtures of local experts. Neural Computation 3.

    Raftery, Kárný and Ettler (2010). Online prediction under model uncertainty via dynamic model averaging.
    Technometrics 52.

    Bifet, Holmes and Pfahringer (2010). Leveraging bagging for evolving data streams. ECML PKDD.

    Gomes et al. (2017). Adaptive random forests for evolving data stream classification. Machine Learning 106.

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
                self._run(SampleRows(self._encoder, [self._encoder.clean(x)], [y]), weights)
            elif w > 0.0:
                changes: Changes = []
                self._plan(self._encoder, vector[np.newaxis], (), np.array([target]), weights, changes)
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
                return self._run(rows, weights)
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
        self._run(SampleRows(self._encoder, samples, labels), weights)

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
            self._run(rows, weights, answers)
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
        """The router's network as a torch module that shares its weights: `driftmoe.router_module.RouterModule`."""
        return self._mixture.router.module()

    def _tree(self, expert: int) -> tuple[TreePool, dict[str, Any]]:
        """Return the trees, of which `expert` is one, and the names of its columns, classes and values."""
        experts, labels = self._mixture.experts, self._encoder.classes
        if not isinstance(experts, MulticlassTrees):
            kind = "networks" if experts.kind == "network" else f"copies of {experts.kind}"
            raise TypeError(
                f"the experts of this model are {kind}; only trees of driftmoe.trees.HoeffdingTreeClassifier, the "
                "default, can be described and drawn"
            )
        if not isinstance(expert, int | np.integer) or isinstance(expert, bool):
            raise TypeError(f"expert={expert!r} is of type {type(expert).__name__}; give an integer")
        n_trees = experts.n_experts
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

    def _run(
        self, rows: SampleRows | BlockRows, weights: np.ndarray, answers: np.ndarray | None = None
    ) -> None:
        """Learn the rows in order, and note what would have been predicted for each before, an index into the classes.

        The router's weights are constant between two of its steps. So the rows up to its next step, or up to one that
        brings a new feature, value or class, go through the router at once and through the experts at once.

        Each such step is all or nothing, and notes how far it came. An interrupt between two steps is put off until the
        last row; what no further try gets over is raised with a note that says which rows have been learnt.
        """
        self._run_on(rows, weights, answers, np.zeros(1, np.int64), stuck_at=-1, n_tries=0)

    def _run_on(
        self,
        rows: SampleRows | BlockRows,
        weights: np.ndarray,
        answers: np.ndarray | None,
        n_learnt: np.ndarray,
        *,
        stuck_at: int,
        n_tries: int,
    ) -> None:
        """Learn the rows that are left; row `stuck_at` could not be learnt in `n_tries` tries."""
        try:  # around the loop, since an interrupt may come between two of its turns
            while n_learnt[0] < len(rows):
                self._advance(rows, weights, answers, n_learnt)
        except BaseException as error:
            row = int(n_learnt[0])
            n_tries = n_tries + 1 if row == stuck_at else 1
            if n_tries < (TRIES if not isinstance(error, Exception) else MOST_TRIES):
                self._run_on(rows, weights, answers, n_learnt, stuck_at=row, n_tries=n_tries)
            elif row > 0:
                error.add_note(f"rows 0 to {row - 1} of {len(rows)} have been learnt, the others have not")
            raise  # after the last row

    def _advance(
        self,
        rows: SampleRows | BlockRows,
        weights: np.ndarray,
        answers: np.ndarray | None,
        n_learnt: np.ndarray,
    ) -> None:
        """Learn the next rows that can be learnt in one step."""
        start = int(n_learnt[0])
        rows.refresh()
        if weights[start] == 0.0:
            if answers is not None:
                answers[start] = self._answer_to(rows, start)
            n_learnt[0] = start + 1
            return
        changes: Changes = []
        encoder = self._encoder
        if rows.is_new(start):
            if answers is not None:
                answers[start] = self._answer_to(rows, start)
            encoder, sample = rows.entered(start)
            changes.append(publication(self._encoder, encoder))
            stop = start + 1
            vectors = encoder.vector(sample)[np.newaxis]
            samples = [encoder.order(sample)] if self._mixture.reads_samples else []
            targets = np.array([encoder.target(rows.label(start))])
        else:
            limit = min(start + self._mixture.router.room, len(rows))
            ignored = np.flatnonzero(weights[start:limit] == 0.0)
            stop = rows.known_until(start, start + int(ignored[0]) if len(ignored) else limit)
            stop = start + self._mixture.n_rows_with_room(stop - start, weights[start:stop])
            vectors = rows.vectors(start, stop)
            samples = rows.samples(start, stop) if self._mixture.reads_samples else []
            targets = rows.targets(start, stop)
        proba = self._plan(encoder, vectors, samples, targets, weights[start:stop], changes)
        if answers is not None and encoder is self._encoder:
            changes.append(planned(first_best, proba, answers[start:stop]))
        changes.append(partial(n_learnt.__setitem__, 0, stop))
        carry_out(changes)

    def _answer_to(self, rows: SampleRows | BlockRows, row: int) -> int:
        """Return the index of the class predicted for a row, -1 if there is none yet."""
        if not self._encoder.classes:
            return -1
        samples = rows.samples(row, row + 1) if self._mixture.reads_samples else []
        return int(self._predict(rows.vectors(row, row + 1), samples)[0].argmax())

    def _plan(
        self,
        encoder: Encoder,
        vectors: np.ndarray,
        samples: Sequence[Sample],
        targets: np.ndarray,
        weights: np.ndarray,
        changes: Changes,
    ) -> np.ndarray:
        """Plan to learn rows that bring nothing new to an encoder: the model's, or a draft that `changes` make it.

        Returns
        -------
        proba
            Class probabilities of each row before it is learnt, shape (n_rows, n_classes); written by the changes.
        """
        inputs, moments = encoder.scaled(vectors, weights)
        changes.append(assignment(self._encoder, _moments=moments))
        n_classes, nominal = len(encoder.classes), encoder.nominal_columns
        return self._mixture.plan(
            Batch(vectors, inputs, samples, n_classes, nominal, targets, weights), changes
        )

    def _predict(self, vectors: np.ndarray, samples: list[Sample]) -> np.ndarray:
        """Return the class probabilities of some rows, shape (n_rows, n_classes); changes nothing."""
        inputs = self._encoder.inputs(vectors, is_learning=False)
        return self._mixture.predict(Batch(vectors, inputs, samples, len(self._encoder.classes)))

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
