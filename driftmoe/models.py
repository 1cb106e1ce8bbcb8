"""Models and policies by name, such as `arf(n_models=100)`, as written on the command line."""

from __future__ import annotations

import ast
import functools
import inspect
import numbers
import re
from collections.abc import Callable
from typing import Any

from river import base, compose, dummy, ensemble, forest, naive_bayes, tree

from driftmoe import moa, routing
from driftmoe.classifier import SMALL, VARIANTS, DriftMoEClassifier
from driftmoe.markov import MarkovClassifier
from driftmoe.mixture import MIXTURES
from driftmoe.nn.classifier import NeuralMoEClassifier
from driftmoe.refitting import ExtraTreesOnWindow, HistGradientBoostingOnWindow
from driftmoe.suggestions import meant
from driftmoe.vw import VowpalWabbitClassifier

__all__ = ["MODELS", "OURS", "POLICIES", "PRESETS", "make", "make_policy"]


def _driftmoe(variant: str) -> Callable[..., base.Classifier]:
    def make(**arguments: Any) -> base.Classifier:
        return DriftMoEClassifier(variant, **arguments)

    parameters = inspect.signature(DriftMoEClassifier).parameters
    make.__signature__ = inspect.Signature([p for n, p in parameters.items() if n != "variant"])  # type: ignore[attr-defined]  # as functools.wraps does
    return make


def _small() -> Callable[..., base.Classifier]:
    """Return `DriftMoEClassifier.small` with a signature that shows the defaults of the preset."""

    def make(**arguments: Any) -> base.Classifier:
        return DriftMoEClassifier.small(**arguments)

    parameters = inspect.signature(DriftMoEClassifier).parameters.values()
    make.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # as above
        [p.replace(default=SMALL.get(p.name, p.default)) for p in parameters if p.name != "variant"]
    )
    return make


def _of_trees(classifier: Callable[..., base.Classifier]) -> Callable[..., base.Classifier]:
    """Give an ensemble with a required `model` argument river's Hoeffding tree as default."""

    def make(model: base.Classifier | None = None, **arguments: Any) -> base.Classifier:
        return classifier(tree.HoeffdingTreeClassifier() if model is None else model, **arguments)

    parameters = inspect.signature(classifier).parameters.values()
    model, *others = (p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters)
    make.__signature__ = inspect.Signature([model.replace(default=None), *others])  # type: ignore[attr-defined]  # as above
    return make


def _on_numbers(classifier: Callable[..., base.Estimator]) -> Callable[..., base.Estimator]:
    """Give a classifier that cannot read text only the numeric features."""

    @functools.wraps(classifier, updated=())
    def make(**arguments: Any) -> base.Estimator:
        return compose.SelectType(numbers.Number) | classifier(**arguments)

    return make


OURS: dict[str, Callable[..., Any]] = {variant: _driftmoe(variant) for variant in VARIANTS} | {
    "small": _small(),
    "neural": NeuralMoEClassifier,
}
"""Name -> class or function: the variants of `DriftMoEClassifier`, its preset, and the mixture of networks."""

MODELS: dict[str, Callable[..., Any]] = {
    **OURS,
    "arf": forest.ARFClassifier,
    "srp": ensemble.SRPClassifier,
    "levbag": _of_trees(ensemble.LeveragingBaggingClassifier),
    "ozabag": _of_trees(ensemble.BaggingClassifier),
    "ozaboost": _of_trees(ensemble.AdaBoostClassifier),
    "adwinbag": _of_trees(ensemble.ADWINBaggingClassifier),
    "adwinboost": _of_trees(ensemble.ADWINBoostingClassifier),
    "ht": tree.HoeffdingTreeClassifier,
    "hat": tree.HoeffdingAdaptiveTreeClassifier,
    "efdt": tree.ExtremelyFastDecisionTreeClassifier,
    "amf": _on_numbers(forest.AMFClassifier),
    "nb": _on_numbers(naive_bayes.GaussianNB),
    "extra-trees": ExtraTreesOnWindow,
    "hist-gradient-boosting": HistGradientBoostingOnWindow,
    "nochange": dummy.NoChangeClassifier,
    "majority": dummy.PriorClassifier,
    "markov": MarkovClassifier,
    "vw": VowpalWabbitClassifier,
    **{name: moa.Maker(name) for name in moa.LEARNERS},
}
"""Name -> class or function. The ensembles are river's, with river's defaults (10 models). `moa-...` are MOA's."""

_ROUTING = {name: getattr(routing, name) for name in routing.__all__}

POLICIES: dict[str, Callable[..., Any]] = {
    name: policy
    for name, policy in _ROUTING.items()
    if isinstance(policy, type) and issubclass(policy, routing.Rule) and policy is not routing.Rule
} | {"LinearK": routing.LinearK}
"""Name -> class: the policies of `driftmoe.routing`, and the schedule that `Scheduled` takes."""

PRESETS: dict[str, routing.Policy] = {
    name: preset for name, preset in _ROUTING.items() if isinstance(preset, routing.Rule)
}
"""Name -> policy: the presets of `driftmoe.routing`."""


MAX_LENGTH = 10_000
"""Maximum number of characters in the text of a model or policy."""

MAX_DEPTH = 40
"""Greatest depth of the syntax tree of a text: about fifteen nested models or policies."""

MAX_MEMBERS = 10_000
"""Maximum number of experts, members and null experts of a model. Those of nested models multiply."""

COUNTS = ("n_experts", "n_models", "n_estimators", "n_null", "n_groups", "n_shared")
"""Arguments that set a number of parts. Those of nested models multiply."""

SIZES = {
    "hidden": 10_000,
    "expert_hidden": 10_000,
    "memory": 1_000_000,
    "batch_size": 1_000_000,
    "max_pairs": 10_000_000,
    "max_iter": 10_000,
    "window": 1_000_000,
    "n_threads": 1_024,
}
"""Arguments that set the size of arrays -> their greatest value."""

MAX_NUMBER = 2**63 - 1
"""Greatest integer for any argument."""


def make(spec: str, *, seed: int | None = None) -> base.Classifier:
    """Return an untrained model from its name and arguments.

    Parameters
    ----------
    spec
        A name, optionally with arguments in parentheses: `arf`, `arf(n_models=100)`,
        `moe-data(top_k=1, expert=ht(grace_period=200))`, `driftmoe(policy=WithNull(TopK(4), n_null=4))`. Values are
        Python literals, models, and the policies and presets of `driftmoe.routing`. No code is executed. Any classifier
        of MOA is known by `moa:` and its class in Java: `moa:trees.HoeffdingTree(gracePeriod=50)`.
    seed
        Seed for models that take one, unless `spec` sets a seed itself.

    Raises
    ------
    ValueError
        If a name or argument is unknown, or a value is not allowed. The message lists what is available.

    Examples
    --------
    >>> from driftmoe import models
    >>> models.make("arf(n_models=3)", seed=1).n_models
    3
    """
    check_length("model", spec)
    node = _node(_as_python(spec.strip()))
    if node is None:
        raise ValueError(f"model {spec!r} cannot be read; write a name, or name(argument=value, ...)")
    if not _is_model(node):
        raise ValueError(
            f"unknown model {_model_name(node)!r}; "
            f"{meant(_model_name(node), MODELS, '`driftmoe models` lists all.')} For one of your own write module:Class"
        )
    check_size(node)
    return _model(node, seed)


def make_policy(spec: str) -> routing.Policy:
    """Return a policy or preset of `driftmoe.routing` from its name and arguments, written as in `make`.

    Raises
    ------
    ValueError
        If a name or argument is unknown, or a value is not allowed. The message lists what is available.

    Examples
    --------
    >>> from driftmoe import models
    >>> models.make_policy("TopK(2, renorm=False)")
    TopK(k=2, renorm=False, score='softmax')
    """
    check_length("policy", spec)
    node = _node(spec.strip())
    policies = [policy for policy in POLICIES if policy != "LinearK"]  # is a schedule
    known = f"policies: {', '.join(policies)}; presets: {', '.join(PRESETS)}"
    if node is None:
        raise ValueError(
            f"policy {spec!r} cannot be read; write a name, or name(argument=value, ...); {known}"
        )
    if _name(node) not in {*policies, *PRESETS}:
        raise ValueError(f"unknown policy {_name(node)!r}; {known}")
    check_size(node)
    return _policy(node, None)


def check_length(what: str, spec: str) -> None:
    """Raise ValueError if a text is too long to be read."""
    if len(spec) > MAX_LENGTH:
        raise ValueError(
            f"{what} {spec[:60]!r}... has {len(spec):,} characters; write at most {MAX_LENGTH:,}"
        )


def check_size(node: ast.expr) -> None:
    """Raise ValueError, before anything is built, if a model would take minutes or all memory to build."""
    level: list[ast.AST] = [node]
    for _ in range(MAX_DEPTH):
        level = [child for parent in level for child in ast.iter_child_nodes(parent)]
    if level:
        raise ValueError(
            "models or policies are nested too deeply; write about fifteen within one another at most"
        )
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, int) and part.value > MAX_NUMBER:
            raise ValueError(f"a number of {len(str(part.value))} digits; write at most {MAX_NUMBER}")
        if isinstance(part, ast.keyword) and part.arg in SIZES:
            numbers = [n.value for n in ast.walk(part.value) if isinstance(n, ast.Constant)]
            for number in numbers:
                if isinstance(number, int | float) and number > SIZES[part.arg]:
                    raise ValueError(f"{part.arg}={number}; choose at most {SIZES[part.arg]:,}")
    if (n_members := _n_members(node)) > MAX_MEMBERS:
        raise ValueError(
            f"{n_members:,} experts or members in all ({', '.join(COUNTS)}, of nested models multiplied); "
            f"choose at most {MAX_MEMBERS:,}"
        )


def _n_members(node: ast.AST) -> int:
    """Return how many parts a text asks for: its own number, times the largest number in one of its arguments."""
    n_own, n_within = 1, 1
    if isinstance(node, ast.Call) and _is_named(node):
        given = {keyword.arg: keyword.value for keyword in node.keywords}
        if (name := _model_name(node)) in MODELS and name not in moa.LEARNERS:
            parameters = inspect.signature(MODELS[name]).parameters
            defaults = {count: parameters[count].default for count in COUNTS if count in parameters}
            if name in OURS:  # `None` stands for a default number
                taken = MIXTURES.get(name, MIXTURES["driftmoe"]).ARGUMENTS
                defaults |= {
                    count: taken[count].default
                    for count, default in defaults.items()
                    if default is None and count in taken
                }
            n_own = max(
                [n for count, n in defaults.items() if count not in given and isinstance(n, int)], default=1
            )
        for count in COUNTS:
            value = getattr(given.get(count), "value", None)
            if isinstance(value, int | float) and not isinstance(value, bool):
                n_own = max(n_own, int(min(value, MAX_NUMBER)))
        if _name(node) == "WithNull" and len(node.args) > 1:
            value = getattr(node.args[1], "value", None)
            if isinstance(value, int):
                n_own = max(n_own, value)
    for child in ast.iter_child_nodes(node):
        n_within = max(n_within, _n_members(child))
    return n_own * n_within


def _as_python(spec: str) -> str:
    """Return a text in which the names of models are names in Python. Text in quotes is not changed.

    A hyphen would be a minus, and the colon and dots of a Java class no part of a name; the middle dot is.
    """
    names = "|".join(name for name in MODELS if "-" in name)

    def written(match: re.Match[str]) -> str:
        if match[0][0] in "'\"":
            return match[0]
        return re.sub("[:.]", "·", match[0]) if match[0].startswith(moa.JAVA) else match[0].replace("-", "_")

    return re.sub(rf"""'[^']*'|"[^"]*"|(?<![\w.:]){moa.JAVA}[\w.]+|{names}""", written, spec)


def _is_model(node: Any) -> bool:
    name = _model_name(node)
    return name in MODELS or name.startswith(moa.JAVA)


def _node(text: str) -> ast.expr | None:
    """Return the syntax tree of a text if it is a name or a call of a name, else `None`."""
    try:
        node = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return node if _is_named(node) else None


def _is_named(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) or (isinstance(node, ast.Call) and isinstance(node.func, ast.Name))


def _name(node: Any) -> str:
    named: Any = node.func if isinstance(node, ast.Call) else node
    return str(named.id)


def _model_name(node: Any) -> str:
    name = _name(node)
    first, *rest = name.split("·")
    return f"{first}:{'.'.join(rest)}" if rest else name.replace("_", "-")


def _model(node: Any, seed: int | None) -> base.Classifier:
    """Return the model for a name or a call."""
    name = _model_name(node)
    factory = MODELS[name] if name in MODELS else moa.Maker(name)
    return built(f"model {name!r}", factory, node, seed, f"`driftmoe models {name}` lists all.")


def built(
    what: str, factory: Callable[..., Any], node: ast.expr, seed: int | None, how_to_see_all: str = ""
) -> Any:
    """Call a factory with the arguments that the syntax tree of a text holds, and a seed if it takes one.

    Parameters
    ----------
    what
        Begins the messages of errors.
    factory
        Class or function.
    node
        A name, or a call with named arguments; its values are literals, models and policies.
    seed
        Value of the argument `seed`, unless the text has it.
    how_to_see_all
        Ends the message about an unknown argument.

    Raises
    ------
    ValueError
        If an argument is unknown, or a value is refused.
    """
    parameters = inspect.signature(factory).parameters
    takes_all = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    known = f"it takes: {', '.join(parameters)}" if parameters else "it takes none"
    arguments: dict[str, Any] = {"seed": seed} if "seed" in parameters else {}
    if isinstance(node, ast.Call):
        if node.args:
            raise ValueError(f"{what}: arguments need their names, as in name=value; {known}")
        for keyword in node.keywords:
            if keyword.arg is None or (keyword.arg not in parameters and not takes_all):
                raise ValueError(
                    f"{what} has no argument {keyword.arg!r}; {meant(keyword.arg, parameters, how_to_see_all)}"
                )
            arguments[keyword.arg] = _value(f"{what}: {keyword.arg}", keyword.value, seed)
    try:
        return factory(**arguments)
    except (TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise ValueError(f"{what}: {' '.join(str(error).split())}") from None
    except MemoryError:
        raise ValueError(f"{what}: there is not enough memory for it; choose smaller numbers") from None


def _policy(node: Any, seed: int | None) -> routing.Policy:
    """Return the policy for a call, a preset's name, or the name of a policy that needs no arguments."""
    name = _name(node)
    if name in PRESETS:
        if isinstance(node, ast.Call):
            raise ValueError(f"policy {name} is a preset and takes no arguments; write {name} alone")
        return PRESETS[name]
    parameters = ", ".join(inspect.signature(POLICIES[name]).parameters) or "no arguments"
    given, named = [], {}
    if isinstance(node, ast.Call):
        given = [_value(f"policy {name}", argument, seed) for argument in node.args]
        named = {str(k.arg): _value(f"policy {name}: {k.arg}", k.value, seed) for k in node.keywords}
    try:
        return POLICIES[name](*given, **named)
    except ValueError as error:
        raise ValueError(f"policy {error}") from None
    except TypeError as error:
        raise ValueError(f"policy {name}: {error}; it takes {parameters}") from None


def _value(what: str, node: ast.expr, seed: int | None) -> Any:
    if _is_named(node):
        if _name(node) in POLICIES or _name(node) in PRESETS:
            return _policy(node, seed)
        if _is_model(node):
            return _model(node, seed)
        raise ValueError(
            f"{what}: unknown name {_name(node)!r}; "
            f"{meant(_name(node), [*POLICIES, *PRESETS, *MODELS], '`driftmoe models` lists all.')}"
        )
    if isinstance(node, ast.Tuple | ast.List):
        return tuple(_value(what, item, seed) for item in node.elts)
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        raise ValueError(
            f"{what}: {ast.unparse(node)} is not a literal; give a number, text, a tuple, a model or a policy"
        ) from None
