"""Models on disk: one file without code, from which a model goes on as if nothing had happened.

`codec` turns a state into JSON and arrays, and back; it knows nothing of models. `models` describes models by it.
`files` gives the description the form of a file, and checks a file before anything is built from it. `outline` says
what a file holds, part by part.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np

from driftmoe.saving.files import content_of, digest_of_model, packed, unpacked
from driftmoe.saving.models import described, rebuilt
from driftmoe.saving.outline import Outline, Part, outline
from driftmoe.staging import write_files

__all__ = ["Outline", "Part", "digest", "from_bytes", "load", "outline", "save", "to_bytes"]

KEPT = "the model is not saved; a file of this name, if there was one, is as it was"


def to_bytes(model: Any, *, compress: bool = False, pickle_experts: bool = False) -> bytes:
    """Return a model as bytes; see `save`."""
    from driftmoe import __version__

    arrays: dict[str, np.ndarray] = {}
    document = described(model, arrays, pickling=pickle_experts)
    return packed(document, arrays, __version__, compress=compress)


def from_bytes(content: bytes, *, prior: Any = None, trust_pickle: bool = False) -> Any:
    """Return the model of some bytes; see `load`."""
    if not isinstance(content, bytes | bytearray | memoryview):
        raise TypeError(f"content is of type {type(content).__name__}; give the bytes of a file")
    found = unpacked(bytes(content))
    return rebuilt(found.model, found.arrays, unpickling=trust_pickle, prior=prior)


def save(
    model: Any, path: str | os.PathLike[str], *, compress: bool = False, pickle_experts: bool = False
) -> Path:
    """Save a model to one file, from which `load` brings it back to go on as if nothing had happened.

    Parameters
    ----------
    model
        A `DriftMoEClassifier`, `NeuralMoEClassifier` or `HoeffdingTreeClassifier`, or a pipeline of it and river's
        `StandardScaler`, `MinMaxScaler`, `OneHotEncoder`, `Select` and `Discard`.
    path
        File to write. Its folder is created if need be. A file of this name is replaced, all at once: whatever happens,
        the old file or the whole new one is there. Its permissions are kept.
    compress
        Whether to compress the file (zstd).
    pickle_experts
        Whether to pickle what cannot be described without code: river classifiers as experts, labels of other types.
        Such a file is loaded only with `trust_pickle=True`. Models that learnt the same may then have different files
        and digests: many classifiers of river hold random generators that no seed reaches, and a pickle tells whether
        equal texts are one object. The digest of a loaded model is that of the file.

    Returns
    -------
    path
        The file. Equal models have equal files, unless something in them is pickled, or different versions of zstd
        compress them.

    Raises
    ------
    TypeError
        If the model, or something in it, cannot be described without code, or cannot be pickled. The message names it.
    ValueError
        If the model could not be loaded: an argument was changed after it was built, its network has overflowed, or it
        claims more memory than its file allows. The message says so.
    OSError
        If the file cannot be written. A file of this name is then as it was.

    Examples
    --------
    >>> import driftmoe, tempfile
    >>> model = driftmoe.DriftMoEClassifier(seed=1)
    >>> model.learn_one({"x": 1.0}, "a")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     same = driftmoe.load(driftmoe.save(model, f"{folder}/model.moe"))
    >>> same.digest() == model.digest()
    True
    """
    path = _file(path)
    if path.is_symlink():  # the file that it stands for is replaced, not the link
        path = path.resolve()
    content = to_bytes(model, compress=compress, pickle_experts=pickle_experts)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_files(path.parent, {path.name: content}, kept=KEPT)
    return path


def load(path: str | os.PathLike[str], *, prior: Any = None, trust_pickle: bool = False) -> Any:
    """Load a model that `save` has written. No code of the file is run.

    Parameters
    ----------
    path
        The file.
    prior
        The trained model that the one in the file reads, if it reads one: the file holds its digest alone. See `prior`
        of `DriftMoEClassifier`.
    trust_pickle
        Whether to load pickled objects, too, which runs code. Choose it for your own files only.

    Raises
    ------
    ValueError
        If the file is not a model, is damaged, holds pickled objects, or was written by a newer version of the format.
        Also if its prior is missing or another one.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import driftmoe
    >>> model = driftmoe.DriftMoEClassifier("moe-data", n_experts=2, seed=1)
    >>> model.learn_one({"x": 1.0}, "yes")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = model.save(Path(folder, "model.moe"))
    ...     again = driftmoe.load(path)
    >>> again.digest() == model.digest()
    True
    """
    file = _file(path)
    try:
        return from_bytes(content_of(file), prior=prior, trust_pickle=trust_pickle)
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from None


def _file(path: str | os.PathLike[str]) -> Path:
    """Return the path of a file. Raise ValueError if it is empty, and IsADirectoryError if it is a folder."""
    if not os.fspath(path):
        raise ValueError("the path is empty; give the name of a file")
    if Path(path).is_dir():
        raise IsADirectoryError(errno.EISDIR, "a folder; give the name of a file", os.fspath(path))
    return Path(path)


def digest(model: Any) -> str:
    """Return the SHA-256 of a model: its class, its arguments and all that it has learnt, as hexadecimal text.

    Equal models have equal digests, in every process and on every processor, if nothing in them has to be pickled; see
    `pickle_experts` of `save`.
    """
    return digest_of_model(described(model, {}, pickling=True))
