"""Machine code on disk: what numba compiled of a kernel, kept for the next process.

numba's own cache knows a kernel by the file that it stands in, so that a change in a helper of another file runs the
old code, and it fails on a damaged file. Here one file holds one compiled signature, under a name made of all that
decides its code: the kernel's file and those that it imports from this package, at any remove; the versions of the
library, numba, llvmlite, numpy and Python; the processor; the types; numba's options. No path and no time of a file
counts, so that an image may carry the files along. A checksum comes first: what is damaged is thrown away and compiled
anew. Files appear whole or not at all, so that processes may compile the same kernel at the same time.

The files lie where numba has its own: in `$NUMBA_CACHE_DIR`, or in `__pycache__` beside the source, or, where that
cannot be written, in the user's cache folder; where nothing can be written, each process compiles for itself.
Of older sources the last few are kept, then they are deleted. `driftmoe` and `streams` import nothing of each other:
this file is in both, with the same content.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import re
import shutil
import sys
import time
import uuid
import warnings
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import llvmlite
import numba
import numpy as np
from numba.core.caching import FunctionCache
from numba.core.compiler import CompileResult
from numba.core.dispatcher import Dispatcher
from numba.core.errors import NumbaWarning
from numba.core.serialize import dumps
from numba.misc.appdirs import AppDirs

PACKAGE = __name__.partition(".")[0]
ROOT = Path(__file__).parent
GENERATIONS = 5
"""Versions of a module's sources whose machine code is kept in one place; the others are deleted, oldest use first."""
ABANDONED = 3600.0
"""Seconds after which a file that was never finished is left by a process that is no more."""
CHECKSUM = hashlib.sha256

OPTIONS = (
    *("OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "ENABLE_AVX", "DISABLE_INTEL_SVML", "USING_SVML"),
    *("BOUNDSCHECK", "DEBUGINFO_DEFAULT", "EXTEND_VARIABLE_LIFETIMES", "ENABLE_PROFILING", "JIT_COVERAGE"),
    *("DEBUG_NRT", "NRT_STATS", "LLVM_REFPRUNE_PASS", "LLVM_REFPRUNE_FLAGS", "PARFOR_MAX_TUPLE_SIZE"),
)
"""Of `numba.config`, what changes the code. `CPU_NAME` and `CPU_FEATURES` are in what numba says of the processor."""


def keep(kernel: Any) -> Any:
    """Keep on disk what numba compiles of a kernel of this package, and take it from there.

    Parameters
    ----------
    kernel
        What `numba.njit` made of a function. With the JIT off that is the function itself, of which there is nothing
        to keep.

    Returns
    -------
    numba.core.dispatcher.Dispatcher
        The same kernel.
    """
    if isinstance(kernel, Dispatcher):
        dispatcher: Any = kernel  # numba does not declare its cache
        dispatcher._cache = KernelCache(kernel)
    return kernel


class KernelCache(FunctionCache):
    """What numba asks for the machine code of one kernel before it compiles, and gives it to afterwards."""

    def __init__(self, kernel: Any) -> None:
        function = kernel.py_func
        self._py_func, self._name = function, repr(function)
        self._file = Path(function.__code__.co_filename)
        self._stem = re.sub(r"[^\w.]", "", function.__qualname__)
        self._kernel_options = sorted(
            (name, sorted(value) if isinstance(value, set | frozenset) else value)
            for name, value in kernel.targetoptions.items()
        )
        # Now, not at the first call: by then a newer version may lie where this one was imported from.
        self._stamp = stamp(self._file)
        self._enabled = True

    @property
    def cache_path(self) -> str | None:
        """Folder that is looked into first."""
        return str(self._folders()[0]) if self._stamp is not None else None

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the code for the types of some arguments, or None where there is none that can be used."""
        if not self._enabled or self._stamp is None:
            return None
        target_context.refresh()
        key = self._key(sig, target_context.codegen())
        for folder in self._folders():
            kept = _read(folder / self._file_name(key))
            if kept is not None and kept[0] == key:
                _note_use(folder)
                return CompileResult._rebuild(target_context, *kept[1])
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Write the code for the types of some arguments into the first folder that takes it."""
        if not self._enabled or self._stamp is None:
            return
        if data.library.has_dynamic_globals or any(not part.can_cache for part in data.lifted):
            what = "it holds addresses of this process, of a large global array or a pointer"
            warnings.warn(f"machine code of {self._name} is not kept: {what}", NumbaWarning, stacklevel=2)
            return
        key = self._key(sig, data.codegen)
        content = dumps((key, data._reduce()))
        for folder in self._folders():
            if _write(folder / self._file_name(key), CHECKSUM(content).digest() + content):
                _tidy(folder)
                return

    def flush(self) -> None:
        """Delete what is kept of this kernel."""
        for folder in self._folders() if self._stamp is not None else ():
            for path in folder.glob(f"{self._stem}-*.nbc"):
                with suppress(OSError):
                    path.unlink()

    def _key(self, sig: Any, codegen: Any) -> tuple[Any, ...]:
        """All that decides the code; numba's own key has the types, the processor, and a hash of the bytecode."""
        options = [(name, str(getattr(numba.config, name, None))) for name in OPTIONS]
        return (*self._index_key(sig, codegen), self._stamp, repr(self._kernel_options), repr(options))

    def _file_name(self, key: tuple[Any, ...]) -> str:
        return f"{self._stem}-{hashlib.sha256(repr(key).encode()).hexdigest()[:24]}.nbc"

    def _folders(self) -> list[Path]:
        module = ".".join((PACKAGE, *self._file.relative_to(ROOT).with_suffix("").parts))
        name = f"{module}-{self._stamp}"
        usual = [self._file.parent / "__pycache__" / name, _user_folder() / PACKAGE / name]
        config: Any = numba.config  # numba sets its options by name
        if not config.CACHE_DIR:
            return usual
        wanted = Path(config.CACHE_DIR)
        with suppress(OSError):
            wanted.mkdir(parents=True, exist_ok=True)
        is_writable = wanted.is_dir() and os.access(wanted, os.W_OK | os.X_OK)
        return [wanted / PACKAGE / name, *([] if is_writable else usual)]


def stamp(file: Path) -> str | None:
    """Return a hash of a module's source, of those that it imports from this package, and of the versions.

    None where code cannot be kept: a source cannot be read, is not of this package, or has changed since this process
    first read it, so that no one knows which of the two its kernels were compiled from.
    """
    sources, to_read = {}, {file}
    while to_read:
        path = to_read.pop()
        try:
            source = _source(path)
            status = path.stat()
        except (OSError, ValueError):
            return None
        if (status.st_mtime_ns, status.st_size) != source.state:
            return None
        sources[source.name] = source.digest, path
        to_read |= source.imports - {path for _, path in sources.values()}
    parts = [_versions(), *((name, digest) for name, (digest, _) in sorted(sources.items()))]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


class _Source(NamedTuple):
    name: str
    state: tuple[int, int]  # time of change and size
    digest: str
    imports: frozenset[Path]


IMPORTED = re.compile(r"import[ \t]*(\([^)]*\)|[^\n]*)")
COMMENT = re.compile(r"#[^\n]*|[()]")
FROM = re.compile(r"[ \t]*(?:from[ \t]+([\w.]+)[ \t]+)?")


@cache
def _source(path: Path) -> _Source:
    """Read a source file, once in a process; parsing all of them would take longer than these few patterns."""
    relative = path.relative_to(ROOT)
    status = path.stat()
    text = path.read_text(encoding="utf-8")
    files = set()
    for match in IMPORTED.finditer(text):
        before = FROM.fullmatch(text, text.rfind("\n", 0, match.start()) + 1, match.start())
        if before is None:  # the word within a line
            continue
        names = [words[0] for part in COMMENT.sub("", match[1]).split(",") if (words := part.split())]
        module = before[1]
        if module is None:
            files |= {_module_file(name) for name in names}
            continue
        if module.startswith("."):
            level = len(module) - len(module.lstrip("."))
            above = [PACKAGE, *relative.parts[:-1]]
            module = ".".join([*above[: len(above) + 1 - level], *module.split(".")[level:]]).rstrip(".")
        files |= {_module_file(f"{module}.{name}") or _module_file(module) for name in names}
    return _Source(
        relative.as_posix(),
        (status.st_mtime_ns, status.st_size),
        hashlib.sha256(text.encode()).hexdigest(),
        frozenset(file for file in files if file is not None),
    )


@cache
def _module_file(name: str) -> Path | None:
    """Return the file of a module of this package."""
    first, *others = name.split(".")
    if first != PACKAGE:
        return None
    base = "/".join(others)
    paths = [ROOT / base / "__init__.py"] + ([ROOT / f"{base}.py"] if base else [])
    return next((path for path in paths if path.is_file()), None)


@cache
def _versions() -> tuple[str, ...]:
    try:
        library = version("driftmoe")
    except PackageNotFoundError:  # a copy of the sources
        library = ""
    python = f"{sys.implementation.cache_tag}{getattr(sys, 'abiflags', '')}"
    return library, numba.__version__, llvmlite.__version__, np.__version__, python


@cache
def _user_folder() -> Path:
    return Path(AppDirs(appname="numba", appauthor=False).user_cache_dir)


def _read(path: Path) -> tuple[Any, Any] | None:
    """Return the key and the code in a file; a damaged one is deleted."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    size = CHECKSUM().digest_size
    if content[:size] != CHECKSUM(content[size:]).digest():
        with suppress(OSError):
            path.unlink()
        return None
    return pickle.loads(content[size:])


def _write(path: Path, content: bytes) -> bool:
    """Put a file in its place as a whole; say whether that could be done."""
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex[:16]}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content)
        os.replace(part, path)
    except OSError:
        return False
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    return True


@cache
def _note_use(folder: Path) -> None:
    """Let a folder be the last used of its place; once in a process."""
    with suppress(OSError):
        os.utime(folder)


def _tidy(folder: Path) -> None:
    """Delete the code of older sources of a module, and what processes that were killed left half-written."""
    module = folder.name.rpartition("-")[0]
    others = [path for path in folder.parent.glob(f"{module}-*") if path != folder]
    for path in sorted(others, key=_time, reverse=True)[GENERATIONS - 1 :]:
        shutil.rmtree(path, ignore_errors=True)
    for path in folder.glob("*.part"):
        if _time(path) < time.time() - ABANDONED:
            with suppress(OSError):
                path.unlink()


def _time(path: Path) -> float:
    """Return when a file or folder was last changed; 0 where another process has just deleted it."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
