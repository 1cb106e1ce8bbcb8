"""The sources of Python's standard library as a data set: real text that is on every machine.

Held-out files are chosen by their names, so that they are the same for every seed. Sources differ between versions of
Python; `fingerprint` tells them apart.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import keyword
import re
import sys
import sysconfig
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

HELD_OUT = 0.2
"""Share of the files that are held out."""

LEFT_OUT = {
    "site-packages",
    "dist-packages",
    "test",
    "tests",
    "idlelib",
    "lib2to3",
    "pydoc_data",
    "encodings",
    "__pycache__",
}
"""Folders that are skipped: tests, tools and tables, and folders to which other packages write."""

INSTALLED = ("site-packages", "dist-packages")
"""Names of folders of installed packages."""

OF_THE_BUILD = ("_sysconfigdata", "config-")
"""Prefixes of build-configuration modules, which are skipped."""


@dataclass(frozen=True)
class Source:
    """One file: its path below the library's folder, its text, and whether it is held out."""

    path: str
    text: str
    is_held_out: bool

    @property
    def package(self) -> str | None:
        """First folder of the path; `None` for a top-level module."""
        folder, slash, _ = self.path.partition("/")
        return folder if slash else None


@functools.cache
def sources() -> tuple[Source, ...]:
    """Return the files of the standard library, sorted by path.

    Raises
    ------
    ValueError
        If there are none, for example because the interpreter keeps its library in an archive.
    """
    root = Path(sysconfig.get_path("stdlib"))
    found = []
    for file in sorted(root.rglob("*.py")):
        path = file.relative_to(root).as_posix()
        if not LEFT_OUT & set(path.split("/")) and not path.startswith(OF_THE_BUILD):
            found.append(Source(path, file.read_text(encoding="utf-8", errors="replace"), _is_held_out(path)))
    if not any(source.is_held_out for source in found):
        raise ValueError(
            f"there are no sources of the standard library in {root}; use a Python that has them"
        )
    return tuple(found)


def _is_held_out(path: str) -> bool:
    return int.from_bytes(hashlib.sha256(path.encode()).digest()[:4]) < HELD_OUT * 2**32


@functools.cache
def packages() -> tuple[Source, ...]:
    """Return the files of installed packages, sorted by path: more to learn from. None of them is held out.

    Files that are also held-out files of the standard library are left out, as are tests and tools.
    """
    held_out = {source.text for source in sources() if source.is_held_out}
    found = {}
    for root in dict.fromkeys(Path(folder) for folder in sys.path):
        for file in root.rglob("*.py") if root.name in INSTALLED else ():
            path = file.relative_to(root).as_posix()
            if not LEFT_OUT & set(path.split("/")) and path not in found:
                text = file.read_text(encoding="utf-8", errors="replace")
                if text not in held_out:
                    found[path] = Source(path, text, is_held_out=False)
    return tuple(found[path] for path in sorted(found))


@functools.cache
def fingerprint(*, with_packages: bool = False) -> str:
    """Return the SHA-256 of all files, including their paths."""
    digest = hashlib.sha256()
    for source in (*sources(), *(packages() if with_packages else ())):
        digest.update(f"{source.path}\0{source.text}\0".encode(errors="replace"))
    return digest.hexdigest()


@dataclass(frozen=True)
class Line:
    """A line of source with its label in a task.

    Attributes
    ----------
    text
        The line.
    target
        The label, one of the classes of the task.
    is_held_out
        Whether the line's file is held out.
    """

    text: str
    target: str
    is_held_out: bool


N_CLASSES = 8
"""Maximum number of classes in a task; the most frequent ones are used."""

N_HELD_OUT = 100
"""Least number of held-out lines of a class."""

KEYWORD = re.compile(rf"\b({'|'.join(keyword.kwlist)})\b")

SHORTEST = 12
"""Least number of characters of a line."""


@functools.cache
def tasks() -> dict[str, tuple[Line, ...]]:
    """Return three classification tasks on lines of the sources.

    Returns
    -------
    lines
        By task: `package`, the package of a line (one of the eight with the most lines); `kind`, whether the line is
        code, docstring or comment, without quotes and comment signs; and `keyword`, the keyword that was masked in a
        line of code (one of the eight most frequent). No line occurs twice. No held-out line is also a training line or
        has two labels, so memorised lines are of no use.
    """
    package, kind, blanked = [], [], []
    for source in sources():
        code, docstrings, comments = _kinds(source)
        held_out = source.is_held_out
        if source.package is not None:
            package += [Line(text, source.package, held_out) for text in (*code, *docstrings, *comments)]
        for name, texts in (("code", code), ("docstring", docstrings), ("comment", comments)):
            kind += [Line(text, name, held_out) for text in texts]
        for text in code:
            if word := KEYWORD.search(text):
                blanked.append(Line(f"{text[: word.start()]}[MASK]{text[word.end() :]}", word[0], held_out))
    return {
        task: _of_largest(lines)
        for task, lines in (("package", package), ("kind", kind), ("keyword", blanked))
    }


def _of_largest(lines: list[Line]) -> tuple[Line, ...]:
    """Return each line once, for the most frequent classes. Held-out lines are kept if they are new and unambiguous."""
    lines = list(dict.fromkeys(lines))
    learnt = {line.text for line in lines if not line.is_held_out}
    n_answers = Counter(line.text for line in lines if line.is_held_out)
    kept = [
        line
        for line in lines
        if not line.is_held_out or (line.text not in learnt and n_answers[line.text] == 1)
    ]
    n_asked = Counter(line.target for line in kept if line.is_held_out)
    n_learnt = Counter(line.target for line in kept if not line.is_held_out)
    asked = [target for target, _ in n_learnt.most_common() if n_asked[target] >= N_HELD_OUT]
    return tuple(line for line in kept if line.target in asked[:N_CLASSES])


def _kinds(source: Source) -> tuple[list[str], list[str], list[str]]:
    """Return a file's lines of code, docstrings and comments, stripped, without quotes and comment signs.

    Other multi-line strings, and lines of code with a comment, are skipped.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about invalid escapes in strings
            tree = ast.parse(source.text)
    except SyntaxError:  # some files contain errors on purpose
        return [], [], []
    in_docstring: set[int] = set()
    in_string: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if ast.get_docstring(node, clean=False) is not None:
                in_docstring |= _extent(node.body[0])
        elif isinstance(node, ast.Constant | ast.JoinedStr) and len(_extent(node)) > 1:
            in_string |= _extent(node)
    code, docstrings, comments = [], [], []
    for number, line in enumerate(source.text.splitlines(), start=1):
        text = line.strip()
        if number in in_docstring:
            docstrings.append(text.strip("\"'").strip())
        elif number in in_string:
            continue
        elif text.startswith("#"):
            comments.append(text.lstrip("#").strip())
        elif "#" not in text:
            code.append(text)
    long = [[text for text in texts if len(text) >= SHORTEST] for texts in (code, docstrings, comments)]
    return long[0], long[1], long[2]


def _extent(node: ast.stmt | ast.expr) -> set[int]:
    return set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
