"""An on-disk cache of compiled kernels that notices changes in every source file a kernel depends on.

numba's own cache checks only the file that contains the kernel: after a change in a helper of another file it runs the
old code. It also fails on a damaged file. Here each file holds one compiled signature. Its name is a hash of everything
that determines the code: the kernel's file and all files that it imports from this package, directly or indirectly; the
versions of the library, numba, llvmlite, numpy and Python; the processor; the types; numba's options. Paths and file
times do not count, so a container image may include the files. Each file starts with a checksum: damaged files are
deleted and compiled again. Files are replaced atomically, so processes may compile the same kernel at the same time.

The files lie where numba keeps its own: in `$NUMBA_CACHE_DIR`, or in `__pycache__` beside the source, or, if that
cannot be written, in the user's cache folder. If nothing can be written, each process compiles for itself. Code of
older sources is deleted, except for the last few versions. `driftmoe` and `streams` import nothing from each other, so
both contain this file, with the same content.
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
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import llvmlite
import numba
import numpy as np
from llvmlite.binding import parse_bitcode
from numba.core.caching import FunctionCache
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompileResult
from numba.core.dispatcher import Dispatcher
from numba.core.errors import NumbaWarning
from numba.core.runtime import rtsys
from numba.core.serialize import dumps
from numba.misc.appdirs import AppDirs

PACKAGE = __name__.partition(".")[0]
ROOT = Path(__file__).parent
GENERATIONS = 5
"""Number of versions of a module's sources whose machine code is kept; the least recently used are deleted."""
ABANDONED = 3600.0
"""Age in seconds at which an unfinished file is taken to be left by a dead process."""
CHECKSUM = hashlib.sha256

OPTIONS = (
    *("OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "ENABLE_AVX", "DISABLE_INTEL_SVML", "USING_SVML"),
    *("BOUNDSCHECK", "DEBUGINFO_DEFAULT", "EXTEND_VARIABLE_LIFETIMES", "ENABLE_PROFILING", "JIT_COVERAGE"),
    *("DEBUG_NRT", "NRT_STATS", "LLVM_REFPRUNE_PASS", "LLVM_REFPRUNE_FLAGS", "PARFOR_MAX_TUPLE_SIZE"),
)
"""Settings of `numba.config` that change the code. numba's own key covers `CPU_NAME` and `CPU_FEATURES`."""


before_compiling: list[Callable[[], object]] = []
"""Functions to call before a kernel is compiled because its machine code is not on disk."""


def keep(kernel: Any) -> Any:
    """Cache the machine code of a kernel of this package on disk.

    Parameters
    ----------
    kernel
        Result of `numba.njit`. With the JIT off this is the plain function, and there is nothing to cache.

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
    """The cache of one kernel. numba looks there before it compiles, and saves the result there afterwards."""

    def __init__(self, kernel: Any) -> None:
        function = kernel.py_func
        self._py_func, self._name = function, repr(function)
        self._file = Path(function.__code__.co_filename)
        self._stem = re.sub(r"[^\w.]", "", function.__qualname__)
        self._kernel_options = sorted(
            (name, sorted(value) if isinstance(value, set | frozenset) else value)
            for name, value in kernel.targetoptions.items()
        )
        # Computed now, not at the first call: by then a newer version may be installed over this one.
        self._stamp = stamp(self._file)
        self._enabled = True

    @property
    def cache_path(self) -> str | None:
        """The folder that is searched first."""
        return str(self._folders()[0]) if self._stamp is not None else None

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the machine code for a signature, or None if there is no usable one."""
        if self._enabled and self._stamp is not None:
            rtsys.initialize(target_context)  # only compiling needs the rest of `refresh`
            key = self._key(sig, target_context.codegen())
            for folder in self._folders():
                kept = _read(folder / self._file_name(key))
                if kept is not None and kept[0] == key:
                    _note_use(folder)
                    return _loaded(target_context, *kept[1:])
        for function in before_compiling:
            function()
        return None

    def is_kept(self, sig: Any, target_context: Any) -> bool:
        """Return whether there is a file for a signature. It may turn out to be damaged."""
        if not self._enabled or self._stamp is None:
            return False
        name = self._file_name(self._key(sig, target_context.codegen()))
        return any((folder / name).is_file() for folder in self._folders())

    def is_writable(self) -> bool:
        """Return whether machine code can be written, so that another process finds it. May create a folder."""
        for folder in self._folders() if self._enabled and self._stamp is not None else ():
            with suppress(OSError):
                folder.mkdir(parents=True, exist_ok=True)
                if os.access(folder, os.W_OK | os.X_OK):
                    return True
        return False

    def save_overload(self, sig: Any, data: Any) -> None:
        """Write the machine code for a signature into the first writable folder."""
        if not self._enabled or self._stamp is None:
            return
        if data.library.has_dynamic_globals or any(not part.can_cache for part in data.lifted):
            what = "it holds addresses of this process, of a large global array or a pointer"
            warnings.warn(f"machine code of {self._name} is not kept: {what}", NumbaWarning, stacklevel=2)
            return
        key = self._key(sig, data.codegen)
        content = dumps((key, data._reduce(), _names_in(data.library)))
        for folder in self._folders():
            if _write(folder / self._file_name(key), CHECKSUM(content).digest() + content):
                _tidy(folder)
                return

    def flush(self) -> None:
        """Delete the cached files of this kernel."""
        for folder in self._folders() if self._stamp is not None else ():
            for path in folder.glob(f"{self._stem}-*.nbc"):
                with suppress(OSError):
                    path.unlink()

    def _key(self, sig: Any, codegen: Any) -> tuple[Any, ...]:
        """Return everything that determines the code. numba's key has the types, processor and bytecode hash."""
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
    """Return a hash of a module's source, of the sources that it imports from this package, and of the versions.

    None if code cannot be cached: a source cannot be read, belongs to another package, or has changed since this
    process first read it, so that it is unknown which version its kernels were compiled from.
    """
    sources, known, to_read = {}, {file}, [file]
    while to_read:
        path = to_read.pop()
        try:
            source = _source(path)
            status = path.stat()
        except (OSError, ValueError):
            return None
        if (status.st_mtime_ns, status.st_size) != source.state:
            return None
        sources[source.name] = source.digest
        to_read += source.imports - known
        known |= source.imports
    parts = [_versions(), *sorted(sources.items())]
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


class _Source(NamedTuple):
    name: str
    state: tuple[int, int]  # time of change and size
    digest: str
    imports: frozenset[Path]


IMPORTED = re.compile(r"\bimport\b[ \t]*(\([^)]*\)|[^\n]*)")
COMMENT = re.compile(r"#[^\n]*|[()]")
FROM = re.compile(r"[ \t]*(?:from[ \t]+([\w.]+)[ \t]+)?")


@cache
def _source(path: Path) -> _Source:
    """Read a source file, once per process. A few patterns find the imports faster than a parser would."""
    relative = path.relative_to(ROOT)
    status = path.stat()
    text = path.read_text(encoding="utf-8")
    files = set()
    for match in IMPORTED.finditer(text):
        before = FROM.fullmatch(text, text.rfind("\n", 0, match.start()) + 1, match.start())
        if before is None:  # the word "import" within a line
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
    """Return the file of a module of this package, or None if there is no such module."""
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
    except PackageNotFoundError:  # the sources are used without installation
        library = ""
    python = f"{sys.implementation.cache_tag}{getattr(sys, 'abiflags', '')}"
    return library, numba.__version__, llvmlite.__version__, np.__version__, python


class _KeptLibrary(JITCodeLibrary):
    """Machine code from a file. What LLVM links into another kernel is only read when one is compiled that needs it."""

    _to_link = b""

    @classmethod
    def _unserialize(cls, codegen: Any, state: tuple[str, str, tuple[bytes, bytes]]) -> _KeptLibrary:
        name, _, (machine_code, to_link) = state
        library = cls(codegen, name)
        library._to_link = to_link
        library.enable_object_caching()
        library._set_compiled_object(machine_code)
        library._finalize_final_module()
        return library

    def _get_module_for_linking(self) -> Any:
        if self._shared_module is None:
            self._shared_module = parse_bitcode(self._to_link)
        return self._shared_module


def _loaded(target_context: Any, reduced: tuple[Any, ...], names: list[str]) -> CompileResult:
    """Return what was compiled, from what `_reduce` gave of it and the names that it defines.

    numba's own objects stay as they are: a signal handler may compile or load other kernels in the meantime.
    """
    codegen = target_context.codegen()
    codegen._engine._defined_symbols.update(names)  # numba reads them in what is to be linked
    reader = SimpleNamespace(unserialize_library=partial(_KeptLibrary._unserialize, codegen))
    target = SimpleNamespace(
        codegen=lambda: reader,
        get_executable=target_context.get_executable,
        typing_context=target_context.typing_context,
    )
    return CompileResult._rebuild(target, *reduced)._replace(target_context=target_context)


def _names_in(library: Any) -> list[str]:
    """Return the names of the functions and variables that machine code defines."""
    module = library._get_module_for_linking()
    return [
        part.name
        for parts in (module.functions, module.global_variables)
        for part in parts
        if not part.is_declaration
    ]


@cache
def _user_folder() -> Path:
    return Path(AppDirs(appname="numba", appauthor=False).user_cache_dir)


def _read(path: Path) -> tuple[Any, ...] | None:
    """Return the key and the code in a file, or None. A damaged file is deleted."""
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
    """Write a file atomically; return whether that succeeded."""
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
    """Mark a folder as the most recently used one; once per process."""
    with suppress(OSError):
        os.utime(folder)


def _tidy(folder: Path) -> None:
    """Delete the code of older sources of a module, and unfinished files of killed processes."""
    module = folder.name.rpartition("-")[0]
    others = [path for path in folder.parent.glob(f"{module}-*") if path != folder]
    for path in sorted(others, key=_time, reverse=True)[GENERATIONS - 1 :]:
        shutil.rmtree(path, ignore_errors=True)
    for path in folder.glob("*.part"):
        if _time(path) < time.time() - ABANDONED:
            with suppress(OSError):
                path.unlink()


def _time(path: Path) -> float:
    """Return the time of a file's or folder's last change, or 0 if another process has just deleted it."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
