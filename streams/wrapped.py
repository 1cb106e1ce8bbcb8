"""Wrapped streams by name, such as `label-swap(elec2, position=20000, width=1000)`.

The first argument is the stream: a name, a file, or another wrapped stream. The others are named and Python literals;
no code is run.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from streams.suggestions import meant

if TYPE_CHECKING:
    from streams.stream import Stream

WRAPPERS = {
    "label-swap": "LabelSwap",
    "feature-permutation": "FeaturePermutation",
    "prior-shift": "PriorShift",
    "class-imbalance": "ClassImbalance",
    "classes-appear": "ClassesAppear",
    "label-noise": "LabelNoise",
    "feature-noise": "FeatureNoise",
    "missing-values": "MissingValues",
    "features-appear": "FeaturesAppear",
    "features-vanish": "FeaturesVanish",
    "shuffle-window": "ShuffleWindow",
    "take": "Take",
}
"""Name -> class of `streams.wrappers`."""

LEAVES_OUT = ("prior-shift", "class-imbalance", "classes-appear")
"""Wrappers that leave samples out, so that more must be read than are asked for."""

MOST_WRAPPERS = 20
"""Greatest number of wrappers around one stream."""

_CALL = re.compile(rf"\s*({'|'.join(WRAPPERS)})\s*\((.*)\)\s*", re.DOTALL)


def is_wrapped(name: str) -> bool:
    """Return whether a text names a wrapper around a stream."""
    return _CALL.fullmatch(name) is not None


def innermost(name: str) -> str:
    """Return the name of the stream that is within all wrappers; the name itself if it has none."""
    for _ in range(MOST_WRAPPERS):
        if not is_wrapped(name):
            return name
        _, name, _ = _split(name)
    raise ValueError(f"more than {MOST_WRAPPERS} wrappers around one stream; leave some out")


def open_wrapped(
    name: str, open_inner: Callable[[str, int | None], Stream], *, limit: int | None, seed: int | None
) -> Stream:
    """Open a stream, and put the wrappers around it that a text names.

    Parameters
    ----------
    name
        The text.
    open_inner
        Opens the stream within all wrappers by its name, with as many samples as the second argument says.
    limit
        Number of samples of the whole; `None` for all.
    seed
        Seed of the outermost wrapper, unless the text gives one. Each one within gets the next number. `None` is 1.

    Raises
    ------
    ValueError
        If the text cannot be read, or a wrapper refuses an argument. Also what `open_inner` raises.
    """
    from streams import wrappers

    layers, inner = [], name
    innermost(name)  # refuses too many
    while is_wrapped(inner):
        wrapper, inner, arguments = _split(inner)
        layers.append((wrapper, arguments))
    leaves_out = any(wrapper in LEAVES_OUT for wrapper, _ in layers)
    stream = open_inner(inner, None if leaves_out else limit)
    for depth, (wrapper, arguments) in reversed(list(enumerate(layers))):
        make = getattr(wrappers, WRAPPERS[wrapper])
        parameters = [p for p in inspect.signature(make).parameters if p != "stream"]
        for argument in arguments:
            if argument not in parameters:
                raise ValueError(f"{wrapper} has no argument {argument!r}; {meant(argument, parameters)}")
        if "seed" in parameters:
            arguments = {"seed": (1 if seed is None else seed) + depth} | arguments
        try:
            stream = make(stream, **arguments)
        except TypeError as error:
            text = str(error).replace(f"{WRAPPERS[wrapper]}.__init__() ", "")
            raise ValueError(f"{wrapper}: {text}; it takes {', '.join(parameters)}") from None
        except ValueError as error:
            raise ValueError(f"{wrapper}: {error}") from None
    return wrappers.Take(stream, limit) if leaves_out and limit is not None else stream


def _split(name: str) -> tuple[str, str, dict[str, Any]]:
    """Return the outermost wrapper of a text, the text of the stream within, and the wrapper's arguments."""
    match = _CALL.fullmatch(name)
    assert match is not None
    wrapper, text = match.groups()
    inner, rest = _cut(text)
    if not inner:
        raise ValueError(f"{wrapper} needs a stream as its first argument, as in {wrapper}(elec2, ...)")
    try:
        call = ast.parse(f"_({rest})", mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
            raise ValueError
        names = [keyword.arg for keyword in call.keywords]
        if None in names or len(set(names)) < len(names):
            raise ValueError
        arguments = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        raise ValueError(
            f"{wrapper}({inner}, ...): {rest!r} cannot be read; write argument=value after the stream, where values "
            "are numbers, texts in quotes, lists or {name: value}"
        ) from None
    if len(inner) > 1 and inner[0] in "'\"" and inner[-1] == inner[0]:
        inner = inner[1:-1]
    return wrapper, inner, arguments


def _cut(text: str) -> tuple[str, str]:
    """Return the first argument of a text, and the rest: it is cut at the first comma outside brackets and quotes."""
    depth, quote = 0, ""
    for i, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        elif character == "," and depth == 0:
            return text[:i].strip(), text[i + 1 :].strip()
    return text.strip(), ""
