"""What is known of a real data set: `Source`."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """The facts about a real data set.

    Attributes
    ----------
    file
        Name of the uncompressed data file; its ending gives the format.
    description
        What a sample is and what its class means.
    n_samples
        Number of rows of the published file.
    n_features
        Number of columns without the target and the dropped ones.
    target
        The column that holds the class, by name or position.
    classes
        The class labels in the order of their index; empty if they are read from the file.
    drop
        Columns that are left out because they number the rows.
    header
        Whether a CSV file begins with a line of column names.
    urls
        Locations of the file, plain or compressed, best first; empty if only copies circulate.
    sha256
        SHA-256 of the uncompressed file; `None` if it is unknown.
    n_bytes
        Size of the uncompressed file, if the SHA-256 is unknown.
    n_classes
        Number of class labels in the file, if neither SHA-256 nor size is known.
    parquet_sha256
        SHA-256 of a Parquet file with the same values.
    drifts
        Positions of changes that are known from how the data were collected.
    others
        Names of other files in which the set circulates, with the class in the last column; their endings give the
        format. Such a copy is checked by its rows, features and classes.
    licence
        Licence that the place of publication states, or that of the data from which the set was made, with conditions
        of the authors; empty if none was found.
    citation
        What to cite.
    """

    file: str
    description: str
    n_samples: int
    n_features: int
    target: str | int = -1
    classes: tuple[Hashable, ...] = ()
    drop: tuple[str, ...] = ()
    header: bool = True
    urls: tuple[str, ...] = ()
    sha256: str | None = None
    n_bytes: int | None = None
    n_classes: int | None = None
    parquet_sha256: str | None = None
    drifts: tuple[int, ...] = ()
    others: tuple[str, ...] = ()
    licence: str = ""
    citation: str = ""
