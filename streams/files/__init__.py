"""Files as streams: CSV, ARFF, JSON lines, Parquet and Arrow, read in pieces, in the order of the file.

A text file is cut into pieces of a megabyte that end where a record ends. pyarrow parses a whole piece at once. A
piece that it cannot parse is cut into groups of 256 records, and a group that it cannot parse is read field by field.
The fast way never changes the result, because pyarrow only gets pieces that the slow way would read the same. The error
of a malformed row names its line and column.

Nominal values and class labels are numbered in order of first appearance (ARFF: in the declared order). Every reading
of a file therefore gives the same numbers, whatever the size of the blocks.

Where a file can be understood in two ways, the stream does not guess: it refuses the file, or says in its `notes` how
it is read.

`opening` chooses the kind of file. `csv`, `jsonlines`, `arff` and `arrow` define columns and fields of each kind.
They share `text` and `reading`. `records`, `values` and `decoding` read lines, fields and bytes.
"""

from __future__ import annotations

from streams.files.arff import ARFFStream
from streams.files.arrow import VALUES_KEY, ArrowStream
from streams.files.bad_rows import BadRows
from streams.files.csv import CSVStream
from streams.files.decoding import refusing_corrupt
from streams.files.jsonlines import JSONLinesStream
from streams.files.opening import ENDINGS, SUFFIXES, FileWarning, open_file
from streams.files.values import MISSING, MISSING_NUMBERS, NominalValues, value_converter

__all__ = [
    "ENDINGS",
    "MISSING",
    "MISSING_NUMBERS",
    "SUFFIXES",
    "VALUES_KEY",
    "ARFFStream",
    "ArrowStream",
    "BadRows",
    "CSVStream",
    "FileWarning",
    "JSONLinesStream",
    "NominalValues",
    "open_file",
    "refusing_corrupt",
    "value_converter",
]
