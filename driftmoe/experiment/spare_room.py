"""The spare room of a model: memory for growth, which is not part of its state or its file.

It is most of the memory of a model that grows. So that a run that goes on from a checkpoint needs as much as one that
was left alone, it is kept beside the model. The parts that have some offer `spare_room()` and `take_spare_room(room)`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

from river import compose

from driftmoe.memory import n_bytes
from driftmoe.parts import OfParts
from driftmoe.saving import from_bytes, to_bytes
from driftmoe.state import State


@runtime_checkable
class HasSpareRoom(Protocol):
    """A part of a model with room for growth."""

    def spare_room(self) -> State:
        """Return the room as plain numbers."""

    def take_spare_room(self, room: State) -> None:
        """Make the room that another part of the same state has."""


def spare_room_of(model: Any) -> list[State]:
    """Return the room of all parts of a model, as plain values."""
    return [part.spare_room() for part in _parts(model, set())]


def give_spare_room(model: Any, rooms: list[State]) -> None:
    """Give a loaded model the room that the saved one had, by what `spare_room_of` returned.

    Raises
    ------
    ValueError
        If the room is that of a model with other parts.
    """
    for part, room in zip(_parts(model, set()), rooms, strict=True):
        part.take_spare_room(room)


def measured_bytes(model: Any) -> int:
    """Return the memory of a model with its spare room: the same for equal models of ours, in every process.

    A copy is measured that has no past. In a model that has learnt for long, Python's dicts have some room of their
    own, and fewer objects are shared than in one that was just loaded.
    """
    try:
        prior = getattr(model, "prior", None)
        copy = from_bytes(to_bytes(model), prior=prior) if issubclass(type(model), OfParts) else None
    except (TypeError, ValueError):  # it holds what cannot be saved
        copy = None
    if copy is None:
        measured: int = model._raw_memory_usage
        return measured
    give_spare_room(copy, spare_room_of(model))
    without = [] if prior is None else [prior, prior._shared]
    return n_bytes(copy, _size_alone, without)


def _size_alone(part: Any) -> int:
    """Return the bytes of an object. How much of a dict of attributes is shared depends on the past of the process."""
    return sys.getsizeof({**part} if type(part) is dict else part)


def _parts(part: Any, seen: set[int]) -> Iterator[HasSpareRoom]:
    """Yield the parts with spare room within an object, in the order of its attributes."""
    if id(part) in seen:
        return
    seen.add(id(part))
    if isinstance(part, Mapping | list | tuple):
        for one in part.values() if isinstance(part, Mapping) else part:
            yield from _parts(one, seen)
    elif type(part).__module__.startswith("driftmoe.") and isinstance(part, HasSpareRoom):
        yield part
    elif isinstance(part, compose.Pipeline) or type(part).__module__.startswith("driftmoe."):
        yield from _parts(getattr(part, "__dict__", {}), seen)
