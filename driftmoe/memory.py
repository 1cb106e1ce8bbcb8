"""Memory use of a model, as river measures it, but with the data of each array and tensor counted once.

river adds the data of an array to `sys.getsizeof`, which already includes them, and does not count tensors' data. What
a model occupies includes its spare capacity, so that its objects are counted and not its `state()`.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterable
from types import FunctionType, ModuleType
from typing import Any

import numpy as np


def n_bytes(model: Any, size_of: Callable[[Any], int] = sys.getsizeof, without: Iterable[Any] = ()) -> int:
    """Return the bytes of an object and of everything that it refers to, without classes, functions and modules.

    Data that several arrays or tensors share is counted once. `size_of` measures each object by itself. What only the
    objects `without` refer to is not counted.
    """
    return sum(_measured(model, size_of, without))


def array_bytes(model: Any) -> int:
    """Return the bytes of the data of all arrays and tensors in an object, each once."""
    return _measured(model, sys.getsizeof)[1]


def _measured(model: Any, size_of: Callable[[Any], int], without: Iterable[Any] = ()) -> tuple[int, int]:
    """Return the bytes of all objects, and those of the data of arrays and tensors."""
    seen = set(map(id, without))
    buffers: dict[int, int] = {}
    size = 0
    reached = [model]
    while reached:
        new = []
        for part in reached:
            if id(part) in seen or isinstance(part, type | FunctionType | ModuleType) or _is_code(part):
                continue
            seen.add(id(part))
            size += size_of(part)
            if isinstance(part, np.ndarray):
                size -= part.nbytes if part.flags.owndata else 0
                while isinstance(part.base, np.ndarray):
                    part = part.base
                buffers[part.ctypes.data] = max(buffers.get(part.ctypes.data, 0), part.nbytes)
            elif hasattr(
                type(part), "untyped_storage"
            ):  # of the class: objects may answer for any name, or raise
                storage = part.untyped_storage()
                buffers[storage.data_ptr()] = storage.nbytes()
            new.append(part)
        reached = gc.get_referents(*new)
    return size, sum(buffers.values())


def _is_code(part: Any) -> bool:
    """Whether an object is numba's: compiled code and what belongs to it, which all models share."""
    return type(part).__module__.partition(".")[0] in ("numba", "_dynfunc")
