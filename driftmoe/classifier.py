"""DriftMoEClassifier: the estimator, and the only file where router and experts meet."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from functools import partial
from inspect import signature
from typing import TYPE_CHECKING, Any, ClassVar

import narwhals.stable.v2 as narwhals
import numpy as np
from river import base
from river.utils.dataframe import into_frame, to_native_frame, to_native_series

from driftmoe.arguments import NEEDS, Context, check_effects, unmet
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
from driftmoe.experts import MulticlassExperts, MulticlassTrees, OneVsRestExperts, OneVsRestTrees
from driftmoe.linear import LinearModels
from driftmoe.memory import n_bytes
from driftmoe.mixing import correctness, first_best, follow_right, mix, mix_own, top_k
from driftmoe.mixture import GATES, AdaptiveMixture, Rows
from driftmoe.neighbours import LabelHistory, Neighbours
from driftmoe.networks import Networks
from driftmoe.perceptron import Perceptron
from driftmoe.router import Router
from driftmoe.routing import Choice, LinearK, Policy, TopK, at_step, route
from driftmoe.telemetry import RoutingLog, RoutingReport
from driftmoe.transaction import TRIES, Changes, OneAtATime, assignment, carry_out, planned, publication
from driftmoe.trees import HoeffdingTreeClassifier, TreePool

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from narwhals.stable.v2.typing import IntoDataFrame, IntoSeries
    from torch import nn

Pool = MulticlassTrees | MulticlassExperts | OneVsRestTrees | OneVsRestExperts | Networks

VARIANTS = ("driftmoe", "moe-vote", "moe-data", "moe-task")

EXTRAS = ("neighbours", "relevant-neighbours", "history", "linear", "network", "head")

KINDS: dict[
    str, Callable[[int, np.random.Generator], Neighbours | LabelHistory | LinearModels | Perceptron]
] = {
    "neighbours": lambda memory, rng: Neighbours(memory),
    "relevant-neighbours": lambda memory, rng: Neighbours(memory, by_relevance=True),
    "history": lambda memory, rng: LabelHistory(),
    "linear": lambda memory, rng: LinearModels(),
    "network": lambda memory, rng: Perceptron(*rng.spawn(1)),
}
"""What makes the extra experts of a name, given how many samples neighbours remember, and a source of randomness."""

DEFAULTS: dict[str, Any] = {
    "n_experts": 12,
    "top_k": 3,
    "extras": EXTRAS,
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

OF_VARIANT: dict[str, dict[str, Any]] = {"driftmoe": {"hidden": (128, 64), "batch_size": 32}}
"""Defaults of a variant where they are not the paper's."""

MONITORS = {"warning_delta": 0.05, "drift_delta": 0.01}
"""How the trees of the adaptive variant follow drift; see `TreePool`."""

MAX_LEVERAGE = 100.0

MANY_STEPS = 10**9
"""By then a schedule has ended: policies are checked at the first step and at this one."""

MOST_TRIES = 3
"""How often a step is tried that raises an error; interrupts that are no errors are put off more often."""

MAX_NODES = 2000
"""Most nodes of a default tree: at 10 classes and 24 numeric features, about 15 MB a tree at the most."""


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
        Experts of other kinds in `"driftmoe"`: names, and river classifiers (one expert each); default: all names.

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

        is_task, is_adaptive = variant == "moe-task", variant == "driftmoe"
        self._policy: Policy = TopK(self._setting("top_k")) if policy is None else policy
        self._n_null = getattr(policy, "n_null", 0)  # logits behind those of the experts
        self._n_shared = getattr(policy, "n_shared", 0)  # experts, the first ones, that have no logit
        router_rng, expert_rng = np.random.default_rng(seed).spawn(2)
        self._experts, nominal = self._new_experts(expert_rng)
        self._encoder = Encoder(nominal)
        self._columns: Columns | None = None  # of the last block; no part of the model's state
        others = [
            KINDS[extra](self._setting("memory"), expert_rng)
            if isinstance(extra, str)
            else MulticlassExperts(extra, 1, expert_rng)
            for extra in (self._setting("extras") if is_adaptive else ())
            if extra != "head"
        ]
        has_head = is_adaptive and "head" in self._setting("extras")
        self._n_experts = self._setting("n_experts") + sum(other.n_experts for other in others) + has_head
        if not is_task and (policy is not None or not is_adaptive):
            self._check_policy()
        self._router = Router(
            self._n_logits + self._n_shared * is_adaptive,
            hidden=tuple(self._setting("hidden")),
            learning_rate=self._setting("learning_rate"),
            batch_size=self._setting("batch_size"),
            dropout=dropout,
            n_threads=n_threads,
            rng=router_rng,
        )
        self._mixture = None
        if is_adaptive:
            self._mixture = AdaptiveMixture(
                self._experts,  # type: ignore[arg-type]  # one-vs-rest pools are of moe-task alone
                others,
                has_head=has_head,
                router=self._router,
                policy=policy,
                n_null=self._n_null,
                n_shared=self._n_shared,
                leverage=self._setting("leverage"),
                min_trust=self._setting("min_trust"),
                gate=self._setting("gate"),
                rng=expert_rng,
            )
        self._reads_samples = (
            self._experts.reads == "samples" if self._mixture is None else self._mixture.reads_samples
        )
        self._correction = np.zeros(self._n_logits)
        self._log = RoutingLog(reads_logits=not (is_adaptive or is_task), is_one_vs_rest=is_task)

    def _new_experts(self, rng: np.random.Generator) -> tuple[Pool, Iterable[Hashable]]:
        """Return the main experts, untrained, and the features that they are told are nominal."""
        # An ensemble without members is falsy: compare with None.
        prototype = _default_tree(self.variant) if self.expert is None else self.expert
        is_task, is_adaptive = self.variant == "moe-task", self.variant == "driftmoe"
        if isinstance(prototype, HoeffdingTreeClassifier):
            settings: dict[str, Any] = {"seed": int(rng.integers(2**31))} if is_adaptive else {}
            settings |= MONITORS if is_adaptive and self._setting("monitors") else {}
            pool = prototype.pool(
                0 if is_task else self._setting("n_experts"), n_threads=self.n_threads, **settings
            )
            return OneVsRestTrees(pool) if is_task else MulticlassTrees(pool), (
                prototype.nominal_attributes or ()
            )
        if is_task:
            return OneVsRestExperts(prototype, rng), ()
        return MulticlassExperts(prototype, self._setting("n_experts"), rng), ()

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
        defaults = DEFAULTS | OF_VARIANT.get(self.variant, {}) | self._own_defaults
        return min(defaults[name], self._setting("n_experts")) if name == "top_k" else defaults[name]

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
        with self._lock:
            vector, samples = self._read(x)
            if not self._encoder.classes:
                return {}
            proba = self._predict(vector[np.newaxis], samples)[0]
            return dict(zip(self._encoder.classes, proba.tolist(), strict=True))  # type: ignore[arg-type]  # any hashable

    def predict_one(self, x: dict[base.typing.FeatureName, Any]) -> base.typing.ClfTarget | None:  # type: ignore[override]  # as above
        """Return the most probable class, of equals the one learnt first; `None` before the first `learn_one`."""
        proba = self.predict_proba_one(x)
        return max(proba, key=proba.__getitem__) if proba else None

    def learn_one(
        self, x: dict[base.typing.FeatureName, Any], y: base.typing.ClfTarget, w: float = 1.0
    ) -> None:
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
            vector = None if self._reads_samples else self._encoder.known_vector(x)
            if target is None or vector is None:
                check_label(y)
                self._run(SampleRows(self._encoder, [self._encoder.clean(x)], [y]), weights)
            elif w > 0.0:
                changes: Changes = []
                self._plan(
                    self._encoder, Rows(vector[np.newaxis], None, []), np.array([target]), weights, changes
                )
                carry_out(changes)

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
        block = None if self._reads_samples else _numbers(X)
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
            If two labels have the same text and the frame is not of pandas.
        """
        labels, proba = self._predict_frame(X)
        frame = _frame(X)
        if not frame.implementation.is_pandas_like() and len(set(map(str, labels))) < len(labels):
            raise ValueError(
                f"classes {labels} are not told apart by their text, which such a frame has as names of its columns; "
                "use pandas, or predict_many"
            )
        columns = {label: proba[:, i].tolist() for i, label in enumerate(labels)}
        return to_native_frame(columns, like=frame)

    def predict_many(self, X: IntoDataFrame) -> IntoSeries:
        """Return the predicted class of each row, as a series of the same kind as the frame."""
        classes, proba = self._predict_frame(X)
        labels: list[Any] = [None] * len(proba)
        if classes:
            labels = [classes[target] for target in proba.argmax(axis=1)]
        return to_native_series(labels, name=None, like=_frame(X))

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
            return self._log.report(self._expert_names(), self._n_replaced())

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
        return self._router.module()

    def _tree(self, expert: int) -> tuple[TreePool, dict[str, Any]]:
        """Return the trees, of which `expert` is one, and the names of its columns, classes and values."""
        if not isinstance(self._experts, MulticlassTrees):
            kind = (
                "networks" if self._experts.reads == "inputs" else f"copies of {type(self.expert).__name__}"
            )
            raise TypeError(
                f"the experts of this model are {kind}; only trees of driftmoe.trees.HoeffdingTreeClassifier, the "
                "default, can be described and drawn"
            )
        if not isinstance(expert, int | np.integer) or isinstance(expert, bool):
            raise TypeError(f"expert={expert!r} is of type {type(expert).__name__}; give an integer")
        n_trees = self._experts.n_experts
        if not 0 <= expert < n_trees:
            allowed = f"choose 0 <= expert < {n_trees}" if n_trees else "there is one for each class learnt"
            raise ValueError(f"expert={expert} but there are {n_trees} trees; {allowed}")
        classes = self._encoder.classes
        if self.variant == "moe-task":
            classes = [f"not {classes[expert]}", classes[expert]]
        names = {"features": self._encoder.features, "classes": classes, "values": self._encoder.values}
        return self._experts.pool, names

    def _get_params(self) -> dict[str, Any]:
        # river takes the first item of a tuple for a class, also of a tuple that has none.
        return {name: [] if value == () else value for name, value in super()._get_params().items()}

    def _expert_names(self) -> list[str]:
        if self.variant == "moe-task":
            return [f"class {label}" for label in self._encoder.classes]
        kinds = [
            {"vectors": "tree", "inputs": "network"}.get(self._experts.reads, type(self.expert).__name__)
        ]
        parts: list[Any] = [self._experts]
        if self._mixture is not None:
            parts = self._mixture.parts
            kinds += [
                extra if isinstance(extra, str) else type(extra).__name__
                for extra in self._setting("extras")
                if extra != "head"
            ]
        names: list[str] = []
        for kind, part in zip(kinds, parts, strict=True):
            if kind in names:  # another river classifier of this class
                kind = f"{kind} {sum(name.startswith(kind) for name in names) + 1}"
            marks = getattr(part, "marks", [str(i + 1) for i in range(part.n_experts)])
            names += (
                [kind] if part is not parts[0] and len(marks) == 1 else [f"{kind} {mark}" for mark in marks]
            )
        return names + ["head"] * (self._n_experts - len(names))

    def _n_replaced(self, n_classes: int | None = None) -> np.ndarray:
        """Return how many trees of each expert a drift has ended, shape (n_experts,)."""
        is_task = self.variant == "moe-task"
        n_classes = len(self._encoder.classes) if n_classes is None else n_classes
        n_replaced = np.zeros(n_classes if is_task else self._n_experts, np.int64)
        if isinstance(self._experts, MulticlassTrees):
            n_replaced[: self._experts.n_experts] = self._experts.pool.n_replaced
        return n_replaced

    def _read(self, x: dict[base.typing.FeatureName, Any]) -> tuple[np.ndarray, list[Sample]]:
        """Return the vector of a sample, and what river experts read of it, for predicting."""
        vector = None if self._reads_samples else self._encoder.known_vector(x)
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
        block = None if self._reads_samples else _numbers(X)
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
        self._run_on(rows, weights, answers, np.zeros(1, np.int64), failed_at=-1, n_tries=0)

    def _run_on(
        self,
        rows: SampleRows | BlockRows,
        weights: np.ndarray,
        answers: np.ndarray | None,
        n_learnt: np.ndarray,
        *,
        failed_at: int,
        n_tries: int,
    ) -> None:
        """Learn the rows that are left; row `failed_at` could not be learnt in `n_tries` tries."""
        try:  # around the loop, since an interrupt may come between two of its turns
            while n_learnt[0] < len(rows):
                self._advance(rows, weights, answers, n_learnt)
        except BaseException as error:
            row = int(n_learnt[0])
            n_tries = n_tries + 1 if row == failed_at else 1
            if n_tries < (TRIES if not isinstance(error, Exception) else MOST_TRIES):
                self._run_on(rows, weights, answers, n_learnt, failed_at=row, n_tries=n_tries)
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
            samples = [encoder.order(sample)] if self._reads_samples else []
            targets = np.array([encoder.target(rows.label(start))])
        else:
            limit = min(start + self._router.room, len(rows))
            ignored = np.flatnonzero(weights[start:limit] == 0.0)
            stop = rows.known_until(start, start + int(ignored[0]) if len(ignored) else limit)
            stop = start + self._n_rows_with_room(stop - start, weights[start:stop])
            vectors = rows.vectors(start, stop)
            samples = rows.samples(start, stop) if self._reads_samples else []
            targets = rows.targets(start, stop)
        proba = self._plan(encoder, Rows(vectors, None, samples), targets, weights[start:stop], changes)
        if answers is not None and encoder is self._encoder:
            changes.append(planned(first_best, proba, answers[start:stop]))
        changes.append(partial(n_learnt.__setitem__, 0, stop))
        carry_out(changes)

    def _answer_to(self, rows: SampleRows | BlockRows, row: int) -> int:
        """Return the index of the class predicted for a row, -1 if there is none yet."""
        if not self._encoder.classes:
            return -1
        samples = rows.samples(row, row + 1) if self._reads_samples else []
        return int(self._predict(rows.vectors(row, row + 1), samples)[0].argmax())

    def _n_rows_with_room(self, n_rows: int, weights: np.ndarray) -> int:
        """Return how many of the next rows can be learnt in one step."""
        if self._mixture is not None:
            return self._mixture.n_rows_with_room(n_rows, weights)
        if not isinstance(self._experts, MulticlassTrees):
            return n_rows
        shape = n_rows, self._experts.n_experts
        return self._experts.n_rows_with_room(
            n_rows, lambda n: np.broadcast_to(weights[:, np.newaxis], shape)[:n]
        )

    def _plan(
        self, encoder: Encoder, rows: Rows, targets: np.ndarray, weights: np.ndarray, changes: Changes
    ) -> np.ndarray:
        """Plan to co-train on rows: all experts vote, the chosen learn, the router learns whom to trust.

        Parameters
        ----------
        encoder
            The model's, or a draft that `changes` make it.
        rows
            At most as many as the router has room for; their inputs are made here.
        targets, weights
            Of the rows, shape (n_rows,).
        changes
            Gets what is left to do.

        Returns
        -------
        proba
            Class probabilities of each row before it is learnt, shape (n_rows, n_classes); written by the changes.
        """
        inputs, moments = encoder.scaled(rows.vectors, weights)
        changes.append(assignment(self._encoder, _moments=moments))
        rows = rows._replace(inputs=inputs)
        is_full = len(targets) == self._router.room
        logits = None
        if self._mixture is not None:
            choice, expert_proba, proba = self._mixture.plan(
                rows, targets, weights, len(encoder.classes), nominal=encoder.nominal_columns, changes=changes
            )
        else:
            choice, logits, expert_proba, proba = self._plan_co_training(
                encoder, rows, targets, weights, changes
            )
        replaced = None
        if is_full:
            replaced = self._n_replaced(len(encoder.classes))
            if isinstance(self._experts, MulticlassTrees) and self.variant != "moe-task":
                now = self._experts.pool.n_replaced_so_far
                changes.append(partial(replaced[: len(now)].__setitem__, ..., now))
        if self._corrects and logits is not None:
            changes.append(
                partial(
                    self._answer_corrected, logits, choice, expert_proba, proba, targets, replaced,
                    self._log.n_samples + len(targets),
                )
            )  # fmt: skip
        else:
            self._log.plan(
                choice, None if self.variant == "moe-task" else logits, expert_proba, proba, targets,
                replaced=replaced, changes=changes,
            )  # fmt: skip
        return proba

    def _plan_co_training(
        self, encoder: Encoder, rows: Rows, targets: np.ndarray, weights: np.ndarray, changes: Changes
    ) -> tuple[Choice, np.ndarray, np.ndarray, np.ndarray]:
        """Plan a step of the paper's variants; return choice, logits, votes and answer."""
        n_rows, n_classes = len(targets), len(encoder.classes)
        is_task = self.variant == "moe-task"
        router = self._router.grown(encoder.n_inputs, n_classes if is_task else self._n_logits)
        if router is not self._router:
            changes.append(publication(self._router, router))
        logits = router.logits(rows.inputs, is_learning=True)
        proba = np.empty((n_rows, n_classes))
        nominal = encoder.nominal_columns
        if is_task:
            expert_proba = self._experts.plan(
                rows.of(self._experts),
                targets,
                weights[:, np.newaxis],
                n_classes,
                nominal=nominal,
                changes=changes,
            )
            choice = Choice(np.empty(proba.shape), np.ones(proba.shape, np.bool_))
            changes.append(planned(mix_own, logits, expert_proba, choice.weights, proba))
            is_own = targets[:, np.newaxis] == np.arange(n_classes)
            router.plan(is_own, changes, weights=weights)
            return choice, logits, expert_proba, proba
        choice = self._choose(logits)
        taught = choice.mask * weights[:, np.newaxis]
        expert_proba = self._experts.plan(
            rows.of(self._experts), targets, taught, n_classes, nominal=nominal, changes=changes
        )
        correct = np.empty((n_rows, self._n_shared + self._n_logits), np.bool_)
        changes.append(planned(correctness, expert_proba, targets, correct))
        router.plan(correct[:, self._n_shared :], changes, weights=weights)
        if self._corrects:  # of those who vote alone: experts would all be taught the same things
            corrected = np.array(logits, np.float64)
            changes.append(
                planned(
                    follow_right,
                    correct,
                    self._n_shared,
                    weights,
                    self.correction,
                    self._correction,
                    corrected,
                )
            )
            logits = corrected
        else:
            changes.append(planned(mix, choice.weights, expert_proba, self.variant == "moe-data", proba))
        return choice, logits, expert_proba, proba

    def _answer_corrected(
        self,
        logits: np.ndarray,
        choice: Choice,
        expert_proba: np.ndarray,
        proba: np.ndarray,
        targets: np.ndarray,
        replaced: np.ndarray | None,
        n_samples: int,
    ) -> None:
        """As a change: let those vote whom the corrected logits choose, and note it once."""
        if self._log.n_samples == n_samples:
            return
        choice = self._choose(logits)
        mix(choice.weights, expert_proba, self.variant == "moe-data", proba)
        changes: Changes = []
        self._log.plan(choice, logits, expert_proba, proba, targets, replaced=replaced, changes=changes)
        carry_out(changes)

    def _predict(self, vectors: np.ndarray, samples: list[Sample]) -> np.ndarray:
        """Return the class probabilities of some rows, shape (n_rows, n_classes); changes nothing."""
        inputs = self._encoder.inputs(vectors, is_learning=False)
        rows = Rows(vectors, inputs, samples)
        n_classes = len(self._encoder.classes)
        if self._mixture is not None:
            return self._mixture.predict(rows, n_classes)
        proba = np.empty((len(vectors), n_classes))
        logits = self._router.logits(inputs)
        read: Any = rows.of(self._experts)
        if self.variant == "moe-task":
            mix_own(logits, self._experts.predict_proba(read, n_classes), np.empty(proba.shape), proba)
            return proba
        asked: np.ndarray | None
        weights, asked, _ = self._choose(logits + self._correction if self._corrects else logits)
        if not self._reads_samples:
            asked = None  # all answer in one call
        else:
            if (
                self.variant == "moe-data"
            ):  # one has the word, or nobody; only where it has no vote are all asked
                asked = np.arange(self._n_experts) == weights.argmax(axis=1)[:, np.newaxis]
            asked = asked | ~weights.any(axis=1, keepdims=True)  # where only nulls are chosen all count alike
        expert_proba = self._experts.predict_proba(read, n_classes, asked)
        if asked is not None and not expert_proba.any(axis=-1).any(axis=-1).all():  # nobody asked has a vote
            expert_proba = self._experts.predict_proba(read, n_classes)
        mix(weights, expert_proba, self.variant == "moe-data", proba)
        return proba

    def _choose(self, logits: np.ndarray) -> Choice:
        """Return the experts that learn or vote on each row, and their weights."""
        policy = at_step(self._policy, self._router.n_batches)
        if type(policy) is TopK and policy.score == "softmax":
            choice = Choice(np.zeros(logits.shape), np.zeros(logits.shape, np.bool_))
            if top_k(logits, policy.k, policy.renorm, choice.weights, choice.mask):
                return choice
        return route(policy, logits)

    @property
    def _corrects(self) -> bool:
        """Whether votes follow a correction of the logits."""
        return self.correction > 0.0 and self.variant in ("moe-vote", "moe-data")

    @property
    def _n_logits(self) -> int:
        """Logits that a policy chooses from."""
        if self.variant == "moe-task":
            return len(self._encoder.classes)
        return self._n_experts - self._n_shared + self._n_null

    def _check_policy(self) -> None:
        """Raise unless the policy gives weights for as many experts as there are."""
        if not callable(self._policy) or isinstance(self._policy, LinearK):
            raise TypeError(
                f"policy={self.policy!r} is no policy; give one of driftmoe.routing, such as TopP(0.9)"
            )
        if self._n_shared and self.variant == "moe-data":
            raise ValueError(
                f"policy={self.policy!r}: shared experts have no place among those that the router trusts, of whom "
                "one answers in variant='moe-data'; choose 'moe-vote', where all chosen ones vote"
            )
        for step in (0, MANY_STEPS):
            policy = at_step(self._policy, step)
            n_chosen = route(policy, np.zeros((1, max(self._n_logits, 1)))).mask.shape[-1]
            if n_chosen != self._n_experts:
                raise ValueError(
                    f"policy={self.policy!r} chooses among {n_chosen} experts but there are {self._n_experts}; null "
                    "and shared experts must be those of the outermost policy, or WithShared(WithNull(...), ...)"
                )

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
        for name, smallest in {
            "n_experts": 1,
            "top_k": 1,
            "batch_size": 1,
            "n_threads": 1,
            "seed": 0,
        }.items():
            value = getattr(self, name)
            if value is None and name != "n_threads":
                continue
            if not isinstance(value, int | np.integer) or isinstance(value, bool):
                raise TypeError(f"{name}={value!r} is of type {type(value).__name__}; give an integer")
            if value < smallest:
                raise ValueError(f"{name}={value}; choose {name} >= {smallest}")
        self._check_extras()
        if not isinstance(self._setting("memory"), int | np.integer) or isinstance(self.memory, bool):
            raise TypeError(
                f"memory={self.memory!r} is of type {type(self.memory).__name__}; give an integer"
            )
        if self._setting("memory") < 64 or self._setting("memory") % 64:
            raise ValueError(f"memory={self.memory}; choose a multiple of 64, such as 4096")
        if not isinstance(self._setting("monitors"), bool | np.bool_):
            raise TypeError(f"monitors={self.monitors!r}; choose True or False")
        if self._setting("gate") not in tuple(GATES):
            raise ValueError(f"gate={self.gate!r}; available: {', '.join(GATES)}")
        if self.hidden is not None and not isinstance(self.hidden, tuple | list):
            raise TypeError(
                f"hidden={self.hidden!r}; give the width of each hidden layer, such as (256, 128)"
            )
        if not all(
            isinstance(width, int | np.integer) and not isinstance(width, bool) and width >= 1
            for width in self.hidden or ()
        ):
            raise ValueError(f"hidden={self.hidden!r}; choose widths of at least 1, such as (256, 128)")
        for name in ("correction", "dropout", "learning_rate", "leverage", "min_trust"):
            value = self._setting(name)
            if not isinstance(value, int | float | np.number) or isinstance(value, bool):
                raise TypeError(f"{name}={value!r} is of type {type(value).__name__}; give a number")
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout={self.dropout}; choose 0 <= dropout < 1")
        if not 0.0 <= self._setting("learning_rate") < np.inf:
            raise ValueError(f"learning_rate={self.learning_rate}; choose 0 or more, such as 0.002")
        if not 0.0 <= self.correction < np.inf:
            raise ValueError(f"correction={self.correction}; choose 0 or more, such as 0.05")
        if not 0.0 < self._setting("leverage") <= MAX_LEVERAGE:
            raise ValueError(
                f"leverage={self.leverage}; choose 0 < leverage <= {MAX_LEVERAGE:g}, such as 6.0"
            )
        if not 0.0 <= self._setting("min_trust") <= 1.0:
            raise ValueError(f"min_trust={self.min_trust}; choose 0 <= min_trust <= 1")
        check_effects({name: getattr(self, name) for name in NEEDS}, self._context())
        n_experts, top_k = self._setting("n_experts"), self._setting("top_k")
        if top_k > n_experts:
            raise ValueError(
                f"top_k={top_k} but there are {n_experts} experts; choose 1 <= top_k <= {n_experts}"
            )

    def _context(self) -> Context:
        """Return what decides which arguments have an effect."""
        is_tree = self.expert is None or isinstance(self.expert, HoeffdingTreeClassifier)
        extras = self._setting("extras") if self.variant == "driftmoe" else ()
        return Context(
            variant=self.variant,
            expert="HoeffdingTreeClassifier" if self.expert is None else type(self.expert).__name__,
            has_trees=is_tree and not self._has_networks,
            has_networks=self._has_networks,
            policy=self.policy,
            extras=tuple(extra if isinstance(extra, str) else type(extra).__name__ for extra in extras),
            n_classifiers=sum(not isinstance(extra, str) for extra in extras),
            gate=self._setting("gate"),
            hidden=self._setting("hidden"),
            learning_rate=self._setting("learning_rate"),
        )

    def _check_extras(self) -> None:
        extras = self._setting("extras")
        if isinstance(extras, str) or not isinstance(extras, Sequence):
            raise TypeError(
                f"extras={self.extras!r}; give a tuple of {', '.join(EXTRAS)} and river classifiers"
            )
        names = [extra for extra in extras if isinstance(extra, str)]
        for extra in extras:
            if isinstance(extra, str) and extra not in EXTRAS:
                raise ValueError(
                    f"extras: unknown {extra!r}; available: {', '.join(EXTRAS)}, and river classifiers"
                )
            if not isinstance(extra, str | base.Classifier):
                raise TypeError(f"extras: {extra!r} is no river classifier; give one, or {', '.join(EXTRAS)}")
            if isinstance(extra, base.Classifier) and not extra._multiclass:
                raise ValueError(
                    f"extras: {type(extra).__name__} tells only two classes apart; wrap it in "
                    "river.multiclass.OneVsRestClassifier"
                )
        if len(set(names)) < len(names):
            raise ValueError(f"extras={self.extras!r} names an expert twice; give each once")

    @property
    def _multiclass(self) -> bool:
        return True

    @property
    def _raw_memory_usage(self) -> int:
        """Bytes of the whole model: Python objects, arrays and tensors, each once."""
        return n_bytes(self)

    @classmethod
    def _unit_test_params(cls) -> Iterator[dict[str, Any]]:
        for variant in VARIANTS:
            sizes = {} if variant == "moe-task" else {"n_experts": 3}
            yield {"variant": variant, "hidden": (8,), "batch_size": 16, **sizes}


def _default_tree(variant: str) -> HoeffdingTreeClassifier:
    """The paper's tree, bounded; of the adaptive variant one that splits on less evidence."""
    if variant == "driftmoe":
        return HoeffdingTreeClassifier(grace_period=200, delta=0.01, max_nodes=MAX_NODES)
    return HoeffdingTreeClassifier(grace_period=50, delta=1e-7, max_nodes=MAX_NODES)


def _frame(X: IntoDataFrame) -> narwhals.DataFrame[Any]:
    """Return a frame as narwhals has it, or say what to give."""
    try:
        return into_frame(X)
    except TypeError:
        kind = f"numpy array of shape {X.shape}" if isinstance(X, np.ndarray) else type(X).__name__
        raise TypeError(
            f"X is a {kind}; give an eager frame (pandas, polars, pyarrow) with a column for each feature, such as "
            "pandas.DataFrame(X)"
        ) from None


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
