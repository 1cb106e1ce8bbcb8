"""Classifiers of MOA by the names of their Java classes, with the options that MOA's option handler lists.

`trees.HoeffdingTree` is the class `moa.classifiers.trees.HoeffdingTree`. Its options have their names in MOA, such as
`gracePeriod`, and take numbers, truth values and texts. One whose name is a word of Python ends in an underscore, as in
`lambda_`. One that holds another class takes MOA's own text for it, such as `"trees.HoeffdingTree -g 50"`, in which
parentheses hold the options of a class within it.
"""

from __future__ import annotations

import functools
import inspect
import keyword
import re
from collections.abc import Mapping
from typing import Any

from driftmoe.suggestions import meant

PACKAGE = "moa.classifiers."
"""Package of Java's in which all classifiers lie."""

_CLASS = re.compile(r"[A-Za-z]\w*(\.[A-Za-z]\w*)*")


@functools.cache
def java_class(name: str) -> Any:
    """Return a classifier's class in Java. Java must be running.

    Parameters
    ----------
    name
        Its name, with or without `moa.classifiers.` before it.

    Raises
    ------
    ValueError
        If there is no such class, or it is no classifier that can be made.
    """
    from java.lang import Class
    from java.lang.reflect import Modifier
    from jpype import JClass, JException
    from moa.classifiers import Classifier, MultiClassClassifier, Regressor

    name = name.removeprefix(PACKAGE)
    kind = None
    if _CLASS.fullmatch(name):
        try:
            kind = Class.forName(PACKAGE + name, False, JClass("moa.DoTask").class_.getClassLoader())
        except JException:  # there is none
            kind = None
    if (
        kind is None
        or not Classifier.class_.isAssignableFrom(kind)
        or Modifier.isAbstract(kind.getModifiers())
    ):
        listed = f"A name is that of a class in {PACKAGE}*, such as moa:trees.HoeffdingTree"
        raise ValueError(f"MOA has no classifier {name!r}; {meant(name, _all_names(), listed)}")
    if Regressor.class_.isAssignableFrom(kind) and not MultiClassClassifier.class_.isAssignableFrom(kind):
        raise ValueError(f"MOA's {name} predicts numbers and no classes; choose a classifier")
    return JClass(PACKAGE + name)


def _all_names() -> list[str]:
    """Return the names of all classifiers that MOA finds."""
    from moa.classifiers import Classifier
    from moa.core import AutoClassDiscovery

    found = AutoClassDiscovery.findClassesOfType("moa.classifiers", Classifier.class_)
    return sorted(str(one.getName()).removeprefix(PACKAGE) for one in found)


def java_parameters(name: str) -> dict[str, inspect.Parameter]:
    """Return a classifier's options with their defaults, and `seed` if it draws random numbers."""
    learner = java_class(name)()
    defaults = {argument: _value_of(option) for argument, option in _options(learner).items()}
    if learner.isRandomizable():
        defaults["seed"] = 1
    return {
        argument: inspect.Parameter(argument, inspect.Parameter.KEYWORD_ONLY, default=value)
        for argument, value in defaults.items()
    }


def purposes(name: str) -> dict[str, str]:
    """Return what MOA says of each option of a classifier, with the values among which one can choose."""
    from com.github.javacliparser import MultiChoiceOption

    told = {}
    for argument, option in _options(java_class(name)()).items():
        text = " ".join(str(option.getPurpose()).split())
        if isinstance(option, MultiChoiceOption):
            text += f" One of {', '.join(map(repr, map(str, option.getOptionLabels())))}."
        told[argument] = text
    return told


def new_learner(name: str, arguments: Mapping[str, Any], header: Any = None) -> Any:
    """Return a new learner in Java, ready for samples of a header if one is given.

    Parameters
    ----------
    name
        As in `java_class`.
    arguments
        Argument -> value, and `seed`. What is not given keeps MOA's default.
    header
        MOA's description of the stream.

    Raises
    ------
    ValueError
        If MOA refuses a value.
    """
    learner = java_class(name)()
    if "seed" in arguments:
        learner.setRandomSeed(arguments["seed"])
    if header is not None:
        learner.setModelContext(header)
    options = _options(learner)
    for argument, value in arguments.items():
        if argument != "seed":
            _set(argument, options[argument], value)
    if header is not None:  # the order of CapyMOA, on which random numbers depend
        learner.prepareForUse()
        learner.resetLearningImpl()
        learner.setModelContext(header)
    return learner


def creation_text(name: str, arguments: Mapping[str, Any]) -> str:
    """Return MOA's own text for a classifier with its options, such as `moa.classifiers.trees.HoeffdingTree -g 50`."""
    learner = new_learner(
        name, {argument: value for argument, value in arguments.items() if argument != "seed"}
    )
    return f"{learner.getClass().getName()} {learner.getOptions().getAsCLIString()}".strip()


def _options(learner: Any) -> dict[str, Any]:
    """Return the options of a learner by the names that they have as arguments in Python."""
    found = {}
    for option in learner.getOptions().getOptionArray():
        argument = re.sub(r"\W", "_", str(option.getName()))
        found[f"{argument}_" if keyword.iskeyword(argument) else argument] = option
    return found


def _value_of(option: Any) -> int | float | bool | str:
    """Return the value of an option as one of Python's."""
    from com.github.javacliparser import FlagOption, FloatOption, IntOption

    if isinstance(option, FlagOption):
        return bool(option.isSet())
    if isinstance(option, IntOption):
        return int(option.getValue())
    if isinstance(option, FloatOption):
        return float(option.getValue())
    return str(option.getValueAsCLIString())


def _set(name: str, option: Any, value: Any) -> None:
    """Give an option a value, or raise ValueError."""
    from com.github.javacliparser import FlagOption, FloatOption, IntOption, MultiChoiceOption
    from java.lang import RuntimeException

    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(option, FlagOption):
        if not isinstance(value, bool):
            raise ValueError(f"{name}={value!r}; choose True or False")
        option.setValue(value)
        return
    if isinstance(option, IntOption) and (not is_number or value != int(value)):
        raise ValueError(f"{name}={value!r}; give a whole number")
    if isinstance(option, FloatOption) and not is_number:
        raise ValueError(f"{name}={value!r}; give a number")
    if isinstance(option, MultiChoiceOption):
        labels = [str(label) for label in option.getOptionLabels()]
        if value not in labels:
            raise ValueError(f"{name}={value!r}; choose one of {', '.join(map(repr, labels))}")
    elif not isinstance(option, IntOption | FloatOption) and not isinstance(value, str):
        raise ValueError(f"{name}={value!r}; give text, as MOA writes it: {_value_of(option)!r}")
    try:
        option.setValueViaCLIString(str(int(value)) if isinstance(option, IntOption) else str(value))
    except RuntimeException as error:
        reason = " ".join(str(error.getMessage() or error).split())
        raise ValueError(f"{name}={value!r} is refused by MOA: {reason}") from None
