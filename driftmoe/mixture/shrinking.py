"""A bound on the memory of a model: how much each group of experts may keep.

What a model knows of names (features, values, classes) fixes the size of router, encoder and most experts. Trees can do
with fewer leaves, neighbours with fewer episodes; they share what is left. From then on each stays below its share by
itself, so that a model only has to be looked at again when new names come.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Hashable, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from driftmoe.experts import Group
from driftmoe.memory import array_bytes
from driftmoe.mixture.telemetry import WINDOW

if TYPE_CHECKING:
    from driftmoe.encoding import Encoder
    from driftmoe.mixture import Mixture
    from driftmoe.recent import Recent

OBJECTS = 1 << 16
"""Bytes of a model's Python objects without names and log, of its events, and of its most recent samples if few.

Measured: 8 to 20 kB of objects, 27 kB of events. Of recent samples there are at most `FOR_RECENT` if the model was
built with a bound.
"""

FOR_RECENT = 18 << 10
"""Bytes of `OBJECTS` that are there for the most recent samples. What they take beyond is counted by itself."""

OF_NAME = 1 << 10
"""Bytes of Python objects for each feature, value or class, without the name itself. Measured: 57 to 206."""

OF_STEP = 1 << 10
"""Bytes of Python objects for each step of the router in the log. Measured: 0.5 kB."""


def shrunk(encoder: Encoder, mixture: Mixture, recent: Recent, max_bytes: int) -> Mixture:
    """Return a mixture that takes at most `max_bytes` with the model's other parts, now and until new names come.

    What is left beside the parts of fixed size is shared equally by the groups that can give up something. A group that
    needs less than its share leaves the rest to the others. The result depends on the state of the model alone, not on
    spare room or on how the samples came.

    Parameters
    ----------
    encoder, mixture, recent
        Parts of a model. The mixture has no spare room, as after `restore`. None is changed.

    Raises
    ------
    ValueError
        If the least that such a model takes is more than `max_bytes`. The message says how much that is.
    """
    needed = least_bytes(encoder, mixture, recent)
    if needed > max_bytes:
        n_features, n_classes = len(encoder.features), len(encoder.classes)
        known = "has learnt nothing yet"
        if n_features or n_classes:
            known = f"knows {n_features} features, {encoder.n_values} nominal values and {n_classes} classes"
        raise ValueError(
            f"max_bytes={max_bytes}, but a model of these settings that {known} takes at least {needed}; choose more, "
            "since features, values and classes to come need room too, or smaller settings"
        )
    groups, left = mixture.groups, max_bytes - needed
    least = [group.bytes_at(group.least_size) for group in groups]
    wishes = [group.bytes_at(group.size) - first for group, first in zip(groups, least, strict=True)]
    new: list[Group] = list(groups)
    modest_first = sorted(range(len(groups)), key=wishes.__getitem__)  # what these leave goes to the others
    for n_served, i in enumerate(modest_first):
        group, share = groups[i], left // (len(groups) - n_served)
        size = group.size if wishes[i] <= share else _largest(group, least[i] + share)
        left -= group.bytes_at(size) - least[i]
        if size < group.size:
            new[i] = group.resized(size)
    return mixture.with_groups(new)


def least_bytes(encoder: Encoder, mixture: Mixture, recent: Recent) -> int:
    """Return the least bytes to which such a model can be shrunk: all of it but what groups can give up."""
    groups = mixture.groups
    fixed = array_bytes(encoder) + array_bytes(mixture.router) + _log_bytes(mixture) + OBJECTS
    fixed += max(0, recent.bytes_at(len(encoder.features)) - FOR_RECENT)
    names = [*encoder.features, *encoder.classes, *(value for of in encoder.values if of for value in of)]
    return fixed + sum(map(name_bytes, names)) + sum(group.bytes_at(group.least_size) for group in groups)


def _largest(group: Group, max_bytes: int) -> int:
    """Return the largest size at which a group takes at most `max_bytes`."""
    low, high = group.least_size, group.size
    while low < high:
        middle = (low + high + 1) // 2
        if group.bytes_at(middle) <= max_bytes:
            low = middle
        else:
            high = middle - 1
    return low


def _log_bytes(mixture: Mixture) -> int:
    """Return the most bytes that the log of the routing takes, with all steps that it can hold."""
    n_steps = 2 + math.ceil(WINDOW / mixture.router.batch_size)
    n_experts = sum(group.n_experts for group in mixture.groups) + 1
    return (n_steps + 1) * (OF_STEP + 8 * (4 + 5 * n_experts))


def name_bytes(name: Hashable) -> int:
    """Return the most bytes of a name and of what refers to it. They depend on its value alone, not on its past."""
    if isinstance(name, str):
        return OF_NAME + 4 * len(name)
    if isinstance(name, tuple | frozenset):
        return OF_NAME + sum(map(name_bytes, name))
    if isinstance(name, Fraction):
        return OF_NAME + sum(map(sys.getsizeof, name.as_integer_ratio()))
    return OF_NAME + sys.getsizeof(name)


def check_boundable(groups: Sequence[Any], max_bytes: int) -> None:
    """Raise ValueError if there are experts that only bound their memory themselves."""
    for group in groups:
        if group.reads == "samples":
            raise ValueError(
                f"max_bytes={max_bytes} does not apply to experts of {group.kind}: only they themselves can bound "
                "their memory; leave it out, or choose trees of driftmoe.trees.HoeffdingTreeClassifier"
            )
