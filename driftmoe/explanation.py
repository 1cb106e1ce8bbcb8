"""An explanation of one prediction: what it holds, as plain values, and as text for a reader who is no expert."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from driftmoe.wording import (
    WIDTH,
    bar,
    counted,
    for_json,
    percent,
    quoted,
    short,
    shown_value,
    signed,
    wrapped,
)

LEAST_WEIGHT = 0.05
"""Share of the vote below which the strongest tree is not described."""

N_LINES = 10
"""Features and conditions that the text shows."""

GLOSSES = {
    "tree": "a decision tree, which asks one question after the other",
    "class": "a decision tree that tells one class from all others",
    "neighbours": "the labels of the most similar samples in memory; the larger the number in brackets, the sooner old "
    "samples stop counting; (like now) counts only times that resemble the present",
    "relevant-neighbours": "as neighbours, but features that separate the classes count more",
    "history": "repeats what usually follows the previous label",
    "linear": "a weighted sum of the features (logistic regression); the number in brackets is its step size: the "
    "larger, the faster it follows a change",
    "products": "a weighted sum of the features and of their products in pairs; the number in brackets is its "
    "step size",
    "sequence": "as products, but the last two labels are features, too",
    "network": "a small neural network",
    "head": "the network that weights the experts, asked for the class itself",
}
"""What the experts of a kind are, for readers who do not know."""


@dataclass(frozen=True)
class Vote:
    """What an expert says, and how much it counts.

    Attributes
    ----------
    expert
        Its name, as in `routing_report()`.
    n_experts
        1, or the number of experts that the line stands for.
    weight
        Its share of the vote, 0 to 1. The weights of all votes sum to 1.
    proba
        {label: probability} as the expert gives it; of the expert's own class only where each expert has one.
    """

    expert: str
    n_experts: int
    weight: float
    proba: dict[Hashable, float]


@dataclass(frozen=True)
class Condition:
    """One test on the way down a tree.

    Attributes
    ----------
    feature, value
        What is tested, and its value in the sample, `None` if it is missing.
    test
        `<= 3.5`, `> 3.5`, `= red` or `!= red`.
    is_met
        Whether the sample passes the test. Otherwise its value is missing, or new to the tree, and the way leads where
        most samples went.
    """

    feature: Hashable
    value: Any
    test: str
    is_met: bool


@dataclass(frozen=True)
class TreePath:
    """The way of the sample down the tree that counts most.

    Attributes
    ----------
    expert, weight
        The tree, and its share of the vote.
    conditions
        The tests, from the root to the leaf.
    class_weights
        {label: weight of the samples of this class that the leaf has learnt}. A sample may count several times.
    proba
        What the tree says, as in `Vote`.
    is_of_class
        Whether the tree tells one class, the answer, from all others.
    """

    expert: str
    weight: float
    conditions: tuple[Condition, ...]
    class_weights: dict[Hashable, float]
    proba: dict[Hashable, float]
    is_of_class: bool = False


@dataclass(frozen=True)
class Neighbour:
    """A remembered sample.

    Attributes
    ----------
    label
        Its label.
    age
        How many samples ago it was learnt; 1 for the last.
    distance
        Euclidean distance in standardised features, each weighted by its relevance if `by_relevance` of the
        explanation.
    """

    label: Hashable
    age: int
    distance: float


@dataclass(frozen=True)
class Contribution:
    """What a feature adds to the probability of the answer; see `driftmoe.occlusion`.

    Attributes
    ----------
    feature, value
        The feature, and its value in the sample, `None` if it is missing.
    contribution
        Probability of the answer minus the mean of what it would be with the values that the feature had recently.
    """

    feature: Hashable
    value: Any
    contribution: float


@dataclass(frozen=True)
class Shared:
    """A nominal value that the model does not tell from others, because its feature has too many.

    Attributes
    ----------
    feature, value
        The feature, and its value in the sample.
    other
        One of the values with which it shares a place: the one that had it first.
    """

    feature: Hashable
    value: Any
    other: Any


@dataclass(frozen=True)
class Explanation:
    """Why a model answers as it does. `str` gives it as text, `to_dict` as plain values for JSON.

    Attributes
    ----------
    label
        The answer, as `predict_one` gives it; `None` before anything is learnt.
    proba
        {label: probability}, as `predict_proba_one` gives it.
    n_learnt
        Number of samples that the model has learnt.
    votes
        The experts that count most, the first most of all. The last entry sums up the others, if there are more.
    path
        The way down the strongest tree; `None` if the experts are no trees.
    neighbours
        The most similar samples that the model remembers, the nearest first.
    by_relevance
        Whether the distance weights features by how well they separate the classes.
    contributions
        What each feature adds to the probability of the answer, the largest first.
    n_drawn
        Number of recent samples whose values took the place of a feature's.
    n_untried
        Number of features that are not among `contributions`, because there are too many for the time. Their values are
        the least unusual ones.
    unknown_features, unknown_values
        Features of the sample that the model has never learnt and does not use, and known ones with a text that it has
        never learnt.
    shared_values
        Values that share a place with others, because the model has 256 other values of this feature. Whether they
        have been learnt is not known.

    Examples
    --------
    >>> from driftmoe import DriftMoEClassifier
    >>> model = DriftMoEClassifier(seed=1)
    >>> for n in range(200):
    ...     model.learn_one({"x": float(n % 2), "noise": float(n % 7)}, "odd" if n % 2 else "even")
    >>> explanation = model.explain_one({"x": 1.0, "noise": 3.0})
    >>> explanation.to_dict()["label"], "x = 1" in str(explanation)
    ('odd', True)
    """

    label: Hashable
    proba: dict[Hashable, float]
    n_learnt: int
    votes: tuple[Vote, ...] = ()
    path: TreePath | None = None
    neighbours: tuple[Neighbour, ...] = ()
    by_relevance: bool = False
    contributions: tuple[Contribution, ...] = ()
    n_drawn: int = 0
    n_untried: int = 0
    unknown_features: tuple[Hashable, ...] = ()
    unknown_values: tuple[Hashable, ...] = ()
    shared_values: tuple[Shared, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that `json` can write. Probabilities by label become lists of label and number.

        Labels, names and values that JSON has no word for become text.
        """
        plain: dict[str, Any] = as_plain(self)
        return plain

    def __str__(self) -> str:
        return "\n\n".join(_sections(self))


def as_plain(value: Any) -> Any:
    """Return a value of an explanation as JSON knows it."""
    if is_dataclass(value):
        found = {field.name: getattr(value, field.name) for field in fields(value)}
        return {
            name: [as_plain(part) for part in one] if name in _SERIES else as_plain(one)
            for name, one in found.items()
        }
    if isinstance(value, dict):
        return [{"label": for_json(label), "value": for_json(one)} for label, one in value.items()]
    return for_json(value)


_SERIES = (
    "votes",
    "conditions",
    "neighbours",
    "contributions",
    "unknown_features",
    "unknown_values",
    "shared_values",
)
"""Entries that are tuples of others. A label that is a tuple is one value."""


def _sections(explanation: Explanation) -> Iterator[str]:
    if not explanation.proba:
        yield wrapped("The model has learnt nothing yet, so it has no answer and nothing to explain.")
        return
    yield _answer(explanation)
    if explanation.contributions:
        yield _features(explanation)
    else:
        yield wrapped(
            "It remembers no recent values of features, so it cannot say which of them speak for the answer."
        )
    if explanation.votes:
        yield _experts(explanation)
    if explanation.path is not None:
        yield _tree(explanation.path, explanation)
    if explanation.neighbours:
        yield _similar(explanation)


def _answer(explanation: Explanation) -> str:
    label, proba = explanation.label, explanation.proba
    text = f"The answer is {quoted(label)}, with a probability of {percent(proba[label])}."
    likeliest = best_of(proba)
    if likeliest != label:
        text += f" It is chosen because of the costs of wrong answers, although {quoted(likeliest)} is more probable."
    others = sorted(((p, name) for name, p in proba.items() if name != label), key=lambda one: -one[0])
    if others:
        shown = ", ".join(f"{quoted(name)} {percent(p)}" for p, name in others[:4])
        text += f" The alternatives: {shown}" + (f", and {len(others) - 4} more." if len(others) > 4 else ".")
    else:
        text += " It is the only class that the model knows."
    text += f" The model has learnt {counted(explanation.n_learnt, 'sample')} so far."
    lines = [wrapped(text)]
    if explanation.unknown_features:
        names = ", ".join(map(quoted, explanation.unknown_features))
        lines.append(wrapped(f"Not used, because the model has never learnt these features: {names}."))
    if explanation.unknown_values:
        names = ", ".join(map(quoted, explanation.unknown_values))
        lines.append(wrapped(f"The model has never learnt the values given here for: {names}."))
    for one in explanation.shared_values[:N_LINES]:
        lines.append(
            wrapped(
                f"{short(one.feature)} = {shown_value(one.value)} shares a place with others, "
                f"{shown_value(one.other)} among them, because this feature has too many values. The model does not "
                "tell them apart."
            )
        )
    if (left := len(explanation.shared_values) - N_LINES) > 0:
        lines.append(f"So do the values of {counted(left, 'more feature')}.")
    return "\n".join(lines)


def _features(explanation: Explanation) -> str:
    answer = quoted(explanation.label)
    largest = max(0.01, *(abs(one.contribution) for one in explanation.contributions))
    lines = [f"WHICH FEATURES SPEAK FOR {answer}"[:WIDTH]]
    lines.append(
        wrapped(
            f"Each line shows by how many percentage points the probability of {answer} would fall on average if this "
            f"feature alone had the values of the last {counted(explanation.n_drawn, 'sample')} instead. A minus sign: "
            "it would rise, so the feature speaks against the answer. The lines need not add up, because features act "
            "together."
        )
    )
    shown = explanation.contributions[:N_LINES]
    named = [f"{short(one.feature)} = {shown_value(one.value)}" for one in shown]
    width = max(map(len, named))
    for name, one in zip(named, shown, strict=True):
        points = 100.0 * one.contribution
        lines.append(f"  {name:<{width}}  {signed(points):>6}  {bar(one.contribution, largest)}".rstrip())
    left = explanation.contributions[N_LINES:]
    if left:
        most = 100.0 * max(abs(one.contribution) for one in left)
        lines.append(f"  {counted(len(left), 'more feature')}, at most {most:.1f} points each")
    if explanation.n_untried:
        of = counted(len(explanation.contributions) + explanation.n_untried, "feature")
        lines.append(
            wrapped(
                f"Of {of} only the {len(explanation.contributions):,} were tried whose values are the most unusual "
                "now; there is no time for the others."
            )
        )
    return "\n".join(lines)


def _experts(explanation: Explanation) -> str:
    votes = explanation.votes
    n_experts = sum(vote.n_experts for vote in votes)
    if n_experts == 1:
        text = "One expert answers alone: the one that is trusted most on samples like this one."
    else:
        text = f"The answer is the weighted vote of {n_experts} experts, which learn side by side. The weight of an "
        text += "expert is how far it is trusted now, on samples like this one."
    if n_experts > 1 and len(votes[0].proba) < len(explanation.proba):
        text += " Each says how probable its own class is."
    lines = ["WHO SAYS SO", wrapped(text)]
    named = [vote.expert if vote.n_experts == 1 else f"{vote.n_experts} others together" for vote in votes]
    width = min(max(map(len, named)), 32)
    lines.append(f"  {'expert':<{width}}  weight  says")
    for name, vote in zip(named, votes, strict=True):
        says = f"{short(best_of(vote.proba))} {percent(max(vote.proba.values()))}" if vote.proba else ""
        if vote.n_experts > 1:
            says = f"{says}, on average" if says else "each its own class"
        lines.append(f"  {name[:width]:<{width}}  {percent(vote.weight):>6}  {says}".rstrip())
    kinds = [kind for vote in votes if vote.n_experts == 1 for kind in GLOSSES if _is_of(vote.expert, kind)]
    if "relevant-neighbours" in kinds:
        kinds.insert(kinds.index("relevant-neighbours"), "neighbours")  # which its gloss refers to
    for kind in dict.fromkeys(kinds):
        lines.append(wrapped(f"{kind}: {GLOSSES[kind]}", indent="  "))
    return "\n".join(lines)


def _is_of(expert: str, kind: str) -> bool:
    return expert == kind or expert.startswith(f"{kind} ")


def _tree(path: TreePath, explanation: Explanation) -> str:
    lines = ["HOW THE STRONGEST TREE DECIDES"]
    tree, weight = quoted(path.expert), percent(path.weight)
    if path.weight < LEAST_WEIGHT and not path.is_of_class:
        lines.append(
            wrapped(
                f"It hardly matters here: the largest weight of a tree is {percent(path.weight)}, that of {tree}."
            )
        )
        return "\n".join(lines)
    which = "of the answer" if path.is_of_class else "with the largest weight here"
    head = f"The decision tree {which} is {tree}, {weight} of the vote."
    if not path.conditions:
        lines.append(wrapped(f"{head} It asks nothing yet, so that all samples are in one group."))
    else:
        lines.append(wrapped(f"{head} It leads the sample to one of its groups, by these conditions:"))
    asked = list(_conditions(path.conditions, {one.feature for one in explanation.shared_values}))
    lines += [f"  {text}"[:WIDTH] for text in asked[:N_LINES]]
    if len(asked) > N_LINES:
        lines.append(f"  and {counted(len(asked) - N_LINES, 'more condition')}")
    total = sum(path.class_weights.values())
    if total > 0.0:
        heaviest = sorted(path.class_weights.items(), key=lambda one: -one[1])
        shown = ", ".join(f"{quoted(label)} {percent(weight / total)}" for label, weight in heaviest[:4])
        weight = f"total weight {total:,.0f}; a sample may count several times"
        lines.append(wrapped(f"The samples that it learnt in this group ({weight}): {shown}."))
    else:
        lines.append("It has not learnt any sample in this group yet.")
    if path.proba:
        best = best_of(path.proba)
        is_outvoted = not path.is_of_class and best != best_of(explanation.proba)
        outvoted = ", and is outvoted" if is_outvoted else ""
        of_group = path.class_weights.get(best, 0.0) / total if total > 0.0 else 0.0
        how = (
            "It says"
            if total == 0.0 or abs(of_group - path.proba[best]) < 0.001
            else "By how well each value of the sample fits each class in this group (naive Bayes), it says"
        )
        said = f"{how} {quoted(best)}, {percent(path.proba[best])}{outvoted}."
        lines.append(wrapped(said))
    return "\n".join(lines)


def _conditions(conditions: Sequence[Condition], shared: Set[Hashable] = frozenset()) -> Iterator[str]:
    """Yield one line for each feature, in the order in which they are first asked for; bounds are put together.

    Values of the features `shared` share places with others. The tests name the one that had the place first.
    """
    for feature in dict.fromkeys(one.feature for one in conditions):
        tests = [one for one in conditions if one.feature == feature]
        value, name = shown_value(tests[0].value), short(feature)
        met = dict.fromkeys(one.test for one in tests if one.is_met)
        above = max((test[2:] for test in met if test.startswith("> ")), key=float, default=None)
        at_most = min((test[3:] for test in met if test.startswith("<= ")), key=float, default=None)
        said = [f"above {above}"] * (above is not None) + [f"at most {at_most}"] * (at_most is not None)
        said += [f"not {short(test[3:])}" for test in met if test.startswith("!= ")]
        places = [test[2:] for test in met if test.startswith("= ")]
        if places and feature in shared:
            yield f"{name} is {value}, in one place with {short(places[0])}"
        elif places:
            yield f"{name} is {value}"
        elif said:
            yield f"{name} is {value}: {' and '.join(said)}"
        if any(not one.is_met for one in tests):
            why = "missing" if tests[0].value is None else f"{value}, which the tree has not seen here"
            yield f"{name} is {why}; the way of most samples is taken"


def _similar(explanation: Explanation) -> str:
    lines = ["THE MOST SIMILAR SAMPLES IN MEMORY"]
    if explanation.by_relevance:
        text = "The distance is in standardised features; those that separate the classes count more."
    else:
        text = "Distance 1 is a difference of one standard deviation in one number."
    text += " At distance 0 samples differ in nothing that the model compares: it takes a missing number as the mean, "
    text += "and leaves out numbers that have never changed."
    lines.append(wrapped(text))
    width = max(len(short(one.label)) for one in explanation.neighbours)
    width = max(width, len("label"))
    lines.append(f"  {'label':<{width}}  distance  learnt")
    for one in explanation.neighbours:
        when = "as the last sample" if one.age == 1 else f"{one.age:,} samples ago"
        lines.append(f"  {short(one.label):<{width}}  {one.distance:>8.2f}  {when}")
    return "\n".join(lines)


def importances_text(importances: Mapping[Hashable, tuple[float, float]], n_lines: int = 20) -> str:
    """Return the importances of features, the first the most important, as lines with bars.

    Parameters
    ----------
    importances
        As `feature_importances` of a model returns them.
    n_lines
        Most features that are shown.
    """
    if not importances:
        return wrapped("The model has learnt too few samples to say which features matter.")
    lines = ["WHICH FEATURES MATTER NOW"]
    lines.append(
        wrapped(
            "Each line shows how many percentage points of probability the true labels of the most recent samples lose "
            "if the values of this feature are shuffled among them, and by how much that differs between shuffles."
        )
    )
    shown = list(importances.items())[:n_lines]
    largest = max(0.01, *(abs(mean) for _, (mean, _) in shown))
    width = max(len(short(name)) for name, _ in shown)
    for name, (mean, spread) in shown:
        figure = f"{signed(100.0 * mean):>6} +- {100.0 * spread:.1f}"
        lines.append(f"  {short(name):<{width}}  {figure}  {bar(mean, largest)}".rstrip())
    if left := len(importances) - len(shown):
        lines.append(f"  {counted(left, 'more feature')}, none above {100.0 * shown[-1][1][0]:.1f}")
    return "\n".join(lines)


def best_of(proba: Mapping[Hashable, float]) -> Hashable:
    """Return the most probable label, the first in a tie."""
    return max(proba, key=proba.__getitem__)
