"""DriftMoEClassifier: the estimator with its arguments, of which it builds an encoder and a mixture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from river import base

from driftmoe.arguments import EVERYWHERE, IF_GIVEN, OF_NO_STATE, check_effects, check_values, unmet
from driftmoe.bounded import BoundedClassifier
from driftmoe.class_weights import ClassWeights
from driftmoe.costs import DecisionCosts
from driftmoe.encoding import Encoder, check_inherited, inherit
from driftmoe.experts import Prototype, prior_of, prototype_of
from driftmoe.mixture import MIXTURES, Mixture
from driftmoe.mixture.arguments import Argument, Arguments, Context, choice
from driftmoe.mixture.shrinking import shrunk
from driftmoe.parts import as_text, parameters_of
from driftmoe.recent import Recent
from driftmoe.suggestions import meant

if TYPE_CHECKING:
    from driftmoe.routing import Policy

VARIANTS = tuple(MIXTURES)


SMALL: dict[str, Any] = {
    "expert": MIXTURES["driftmoe"].default_expert().clone({"max_nodes": 9}),
    "n_experts": 1,
    "extras": ("neighbours", "history", "linear"),
    "memory": 256,
    "hidden": (),
    "batch_size": 8,
    "max_waiting": 0,
    "records": False,
}
"""The arguments of `DriftMoEClassifier.small`."""


class DriftMoEClassifier(BoundedClassifier):
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
        have no effect is refused. `settings` has the arguments that have an effect.
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
        Experts of other kinds in `"driftmoe"`: names, or river classifiers (one expert each). Default: all names
        but `"products"` and `"sequence"`.

        - `"neighbours"`: four votes of k-nearest neighbours among up to 4096 past samples; older samples are kept at
          lower density. In three of the votes the distance grows with age, at three rates. The fourth leaves out times
          that were unlike the present, and uses them again when they return.
        - `"relevant-neighbours"`: the same, with features scaled by how well they separate the classes.
        - `"history"`: predicts from the previous label. It does not help when labels are delayed, but it does no harm.
        - `"linear"`: three logistic regressions with different step sizes.
        - `"network"`: a network with one hidden layer, which takes a gradient step on every sample.
        - `"products"`: two logistic regressions on all products of two inputs, which find where two matter together.
        - `"sequence"`: the same with the last two labels among the inputs.
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
    min_awake
        Fewest trees of `"driftmoe"` that stay awake. While their weight together has been below half of what it would
        be if all experts counted the same, for 1400 samples or more, the others sleep: they neither vote nor learn. All
        are woken as soon as the weight rises above this, or `events` tells of a warning or a drift. Likewise the extra
        expert `"network"` is asked and taught one sample in eight while its weight is low. Where trees matter none
        sleeps. 0 keeps all awake, the default. It has no effect beside a `policy`, which chooses who learns.
    max_waiting
        Most samples of which `"driftmoe"` keeps what the experts said of them until their labels come, where labels are
        late; see `arrive_one`. Each takes some 100 bytes, and 60 more a class, but all together at most 8 MB: with many
        classes fewer are kept. It should be larger than the delay. Where more wait, the oldest is given up, or one at
        random if labels come later than that, and learnt as if nothing had been kept of it. 0 keeps none; default:
        8192.
        Not beside `max_bytes`, which leaves no room for them.
    prior
        A trained model of this class, or a `driftmoe.trees.HoeffdingTreeClassifier`, that is one more expert of
        `"driftmoe"`, called "prior" in reports. Models share it and read it. It learns nothing from then on, and their
        copies and files do not contain it: files hold its digest, and `load(path, prior=model)` takes it again. Its
        features, nominal values and classes are known from the start, so that before the first `learn_one` the answers
        are those of the prior. The gate starts with trust in it, and leaves it as soon as the other experts are better.
        While its weight is low it is asked for one sample in eight; see `min_trust`. Default: none.
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
    max_features
        Greatest number of features; default: no bound. The first ones that are learnt are kept, sorted by name within
        one sample. The model ignores all others, warns once, and counts their values in `n_ignored_values`.
    max_classes
        Greatest number of classes; default: no bound. The first ones that are learnt are kept. A sample of another
        class is predicted but not learnt. The model warns once, and counts such samples in `n_ignored_samples`. It does
        not raise, so that one wrong label cannot end a stream, and it does not learn them as another class.
    max_bytes
        Bound on the bytes that river's memory meter shows; default: none. Trees are pruned and stop growing, and
        neighbours remember fewer samples, so that the model stays below at any time; see `shrink`. New features and
        values for which there is no room are left out, and a sample of a new class is not learnt. The model warns once
        and counts them, as with `max_features` and `max_classes`. If there is no room for the first sample,
        `learn_one` raises a ValueError that says how much it needs. Names win over leaves: bound them, too, if they may
        be junk. A sample that brings new names takes milliseconds, since the model is copied, and about three times the
        memory for a moment. Not with river classifiers as experts.
    decision_costs
        Costs by which `predict_one` and its relatives choose a class: the one of least expected cost. Default: the most
        probable one. `{"fraud": 10}` says that to miss a fraud costs 10. Labels that are left out cost 1. With two
        classes this is a threshold: `"fraud"` is predicted if its probability is above 1 / (1 + 10). For another
        threshold t give the cost (1 - t) / t. `{("fraud", "fine"): 10, ("fine", "fraud"): 0.5}` gives the costs of
        pairs (true label, predicted label). Pairs that are left out cost 0 if the labels are equal, otherwise 1. A
        tuple is always a pair. Costs are numbers from 0 to 1e15. Probabilities, and what the model learns, do not
        depend on them: `model.clone({"decision_costs": ...}, include_attributes=True)` is a trained model with other
        costs.
    class_weight
        Weights of classes, for streams with rare ones: `"balanced"`, by which all classes count the same, or weights by
        label, such as `{"fraud": 10}`; labels that are left out weigh 1. Balanced weights are n / (k · n_c) for k
        classes and n_c samples of a class, as in scikit-learn, over about the last 2000 samples, so that they follow
        shares that drift. A class of weight w is learnt with sqrt(w) times the weight of the sample, and its
        probability is multiplied by sqrt(w). Both together give the probabilities of a stream in which the class comes
        w times as often, and the answer is the most probable class of that stream. `class_weights` has the weights now,
        and the votes in `explain_one` are those before them. A class that does not come again keeps a large weight.
        Labels must be those of the stream: an error says where `"1"` is given and `1` or `1.0` comes.
        Not with river classifiers whose `learn_one` takes no weight. Default: none, all classes weigh 1.
    records
        Whether the model keeps what only reports read; default: True. `False` changes no prediction. It saves some 80
        kB of memory, and a third to a half of the file of a small model. Such a model has the last 8 events of each
        kind in the place of 100, `routing_report().window` is that of all samples, and what needs the most recent
        samples raises a ValueError: `feature_importances`, `predict_set_one`, `predict_set_many`. `explain_one` leaves
        out what each feature adds.
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

    *Memory.* The names of features and the classes are kept for good. Memory stays flat on a stream that brings new
    ones without end only if there is a bound: `max_features`, `max_classes`. River classifiers as experts see the
    features within the bound, but all values of them. Leave identifiers out: they carry no information, and each leaf
    uses 16 bytes for each value seen and class. A feature with 256 values and ten classes took a third of a gigabyte
    after 6000 samples, and may take six times as much with the default of 2000 nodes a tree.
    `expert=HoeffdingTreeClassifier(max_nodes=200)` has a lower bound. The router's inputs are standardised online, with
    one column for each of the first 64 values of a nominal feature; later values share 64 more columns. Trees
    distinguish 256 values of a nominal feature; later ones share their places.

    *Many keys.* `DriftMoEClassifier.small()` is a preset for one model a key: its compressed file has some 10 kB after
    10,000 samples of six features. See `small`.

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
    tree, at once. That holds for labels that come late, too (`run_rows`, or `step_many` with weights of 0): there each
    sample is predicted twice, once for its answer and once for what the gate learns from it. `benchmarks.speed`
    measures it.

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

    ADDED: ClassVar[tuple[str, ...]] = ("min_awake", "max_waiting", "records", "prior", "class_weight")
    SHARED: ClassVar[tuple[str, ...]] = ("prior",)
    _variants: ClassVar[tuple[str, ...]] = VARIANTS
    """Variants that can be chosen; a subclass may offer fewer."""
    _own_defaults: ClassVar[dict[str, Any]] = {}
    """Defaults of a subclass that differ from those of the variants."""
    _own_arguments: ClassVar[Arguments] = {}
    """Arguments that a subclass adds."""

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
        min_awake: int | None = None,
        max_waiting: int | None = None,
        prior: base.Classifier | None = None,
        hidden: tuple[int, ...] | None = None,
        learning_rate: float | None = None,
        batch_size: int | None = None,
        dropout: float = 0.0,
        max_features: int | None = None,
        max_classes: int | None = None,
        max_bytes: int | None = None,
        decision_costs: dict[Any, float] | None = None,
        class_weight: str | dict[Any, float] | None = None,
        records: bool | None = None,
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
        self.min_awake = min_awake
        self.max_waiting = max_waiting
        self.prior = prior
        self.hidden = hidden
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.dropout = dropout
        self.max_features, self.max_classes, self.max_bytes = max_features, max_classes, max_bytes
        self.decision_costs = _own(decision_costs)
        self.class_weight = _own(class_weight)
        self.records = records
        self.n_threads = n_threads
        self.seed = seed
        self._check_arguments()
        if decision_costs is not None:
            self._costs = DecisionCosts(decision_costs)
        super().__init__()

    @classmethod
    def small(cls, **changes: Any) -> Self:
        """Return an untrained model that is small enough for one model a key, with many keys.

        It is the adaptive variant with one tree of five leaves, neighbours among 256 samples, the label's history,
        linear models, and a router without hidden units, and it keeps no `records`. Its file, compressed, has about a
        kilobyte at first and ten after 10,000 samples of six features; the default model's has 250.

        Parameters
        ----------
        **changes
            Arguments of the constructor, which the preset takes over or which replace its own.

        Raises
        ------
        TypeError
            If there is no such argument, or one has the wrong type.
        ValueError
            If an argument is out of range or would have no effect.

        Examples
        --------
        >>> from driftmoe import DriftMoEClassifier
        >>> model = DriftMoEClassifier.small(memory=128, seed=1)
        >>> model.n_experts, model.memory, model.hidden
        (1, 128, ())
        """
        if cls._own_arguments:
            raise TypeError(f"{cls.__name__} has no small preset; use {DriftMoEClassifier.__name__}.small()")
        if unknown := [name for name in changes if name not in parameters_of(cls)]:
            raise TypeError(
                f"{cls.__name__} has no argument {unknown[0]!r}; "
                f"{meant(unknown[0], parameters_of(cls), 'Its docstring lists all.')}"
            )
        own_tree = {"expert": SMALL["expert"].clone()}  # which the caller may change
        return cls(**(SMALL | own_tree | changes))

    def _new_parts(self) -> tuple[Encoder, Mixture, Recent]:
        router_rng, expert_rng = np.random.default_rng(self.seed).spawn(2)
        prototype = self._prototype()
        mixture = MIXTURES[self.variant].build(
            self._settings(), prototype, router_rng=router_rng, expert_rng=expert_rng
        )
        encoder = Encoder(
            prototype.nominal,
            max_features=self.max_features,
            max_classes=self.max_classes,
            has_bound=self.max_bytes is not None,
        )
        if self.prior is not None and "prior" in self._taken():
            inherit(encoder, self.prior._encoder)
        is_kept = self.records is None or bool(self.records)
        weights = None if self.class_weight is None else ClassWeights(self.class_weight)
        recent = Recent(has_bound=self.max_bytes is not None, is_kept=is_kept, class_weights=weights)
        if not is_kept:
            mixture.log.keep_little()
        if self.max_bytes is not None:
            mixture = shrunk(encoder, mixture, recent, self.max_bytes)
        return encoder, mixture, recent

    def _prototype(self) -> Prototype:
        """Return what the main experts are copied from."""
        return prototype_of(MIXTURES[self.variant].default_expert() if self.expert is None else self.expert)

    @property
    def settings(self) -> dict[str, Any]:
        """The arguments that have an effect, each with its given value or its default."""
        context = self._context()
        return {
            name: self._setting(name)
            for name in parameters_of(type(self))
            if unmet(name, context) is None
            and (name not in IF_GIVEN or getattr(self, name) not in (None, IF_GIVEN[name]))
        }

    def _arguments(self) -> dict[str, str]:
        """Return the arguments that a state depends on, as text."""
        settings = {name: value for name, value in self.settings.items() if name not in OF_NO_STATE}
        return {name: as_text(value) for name, value in self._named(settings).items()}

    def _as_given(self) -> dict[str, str]:
        """Return all arguments as they were given, as text, except those that change no result."""
        given = {name: getattr(self, name) for name in parameters_of(type(self)) if name != "n_threads"}
        return {name: as_text(value) for name, value in self._named(given).items()}

    def _named(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return arguments with the name of the prior in its place: it is told by what it has learnt."""
        prior = arguments.get("prior")
        return arguments if prior is None else arguments | {"prior": prior_of(prior).name}

    def _setting(self, name: str) -> Any:
        """Return the given value of an argument, or its default if it was left out."""
        value, taken = getattr(self, name), self._taken()
        if value is not None or name not in taken:
            return value
        default = self._own_defaults.get(name, taken[name].default)
        return min(default, self._setting("n_experts")) if name == "top_k" else default

    def _taken(self) -> dict[str, Argument]:
        """Return the arguments that the variant takes."""
        return _taken_by(type(self), self.variant)

    def _settings(self) -> dict[str, Any]:
        """Return all arguments, also those that a subclass adds, each with its given value or its default."""
        names = dict.fromkeys((*parameters_of(DriftMoEClassifier), *parameters_of(type(self))))
        return {name: self._setting(name) for name in names}

    def _get_params(self) -> dict[str, Any]:
        # river takes the first item of any tuple for a class, and fails on an empty tuple.
        return {name: [] if value == () else value for name, value in super()._get_params().items()}

    def _check_fit(self, parts: Sequence[Any]) -> None:
        super()._check_fit(parts)
        if self.prior is not None:
            check_inherited(parts[0], self.prior._encoder)

    def _check_arguments(self) -> None:
        choice(self._variants)("variant", self.variant)  # first: the defaults of others depend on it
        settings, context = self._settings(), self._context()
        check_values(settings, context.arguments)
        check_effects({name: getattr(self, name) for name in settings}, context)
        n_experts, top_k = settings["n_experts"], settings["top_k"]
        if "top_k" in context.arguments and top_k > n_experts:
            raise ValueError(
                f"top_k={top_k} but there are {n_experts} experts; choose 1 <= top_k <= {n_experts}"
            )

    def _context(self) -> Context:
        """Return the settings that decide which arguments have an effect."""
        taken = self._taken()
        return Context(
            variant=self.variant,
            arguments=taken,
            reasons=MIXTURES[self.variant].REASONS,
            expert=self._prototype(),
            policy=self.policy,
            extras=tuple(self._setting("extras")) if "extras" in taken else (),
            gate=self._setting("gate") if "gate" in taken else None,
            hidden=self._setting("hidden"),
            learning_rate=self._setting("learning_rate"),
            prior=self.prior,
            max_bytes=self.max_bytes,
        )

    @classmethod
    def _unit_test_params(cls) -> Iterator[dict[str, Any]]:
        for variant, mixture in MIXTURES.items():
            sizes = {} if "n_experts" not in mixture.ARGUMENTS else {"n_experts": 3}
            yield {"variant": variant, "hidden": (8,), "batch_size": 16, **sizes}


def _own(argument: Any) -> Any:
    """Return a copy of a dict, so that the caller may change his own, and any other argument as it is."""
    return dict(argument) if isinstance(argument, dict) else argument


@cache
def _taken_by(kind: type[DriftMoEClassifier], variant: str) -> dict[str, Argument]:
    """Return the arguments that a variant takes in a class; it is asked for each argument of each model."""
    return {**EVERYWHERE, **MIXTURES[variant].ARGUMENTS, **kind._own_arguments}
