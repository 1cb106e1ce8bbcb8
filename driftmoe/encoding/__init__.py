"""Conversion of river's dictionaries, or blocks of a stream, into the numbers that trees and router read.

A sample is checked once, when it comes in. Trees get its vector: numbers as they are, a nominal value as its code, NaN
for a missing value. The router gets inputs made from the vector: numbers standardised online, codes one-hot. Features,
values and classes are only ever appended, and sorted within one sample, so that columns under trained weights never
move.

`samples` reads a sample or refuses it, `encoder` gives names and values their places, `scaling` makes the router's
inputs, and `blocks` takes rows in one after the other. `frames` takes frames and columns of labels apart; it needs
river and is imported by its own name.
"""

from __future__ import annotations

from driftmoe.encoding.blocks import BlockRows, Columns, SampleRows
from driftmoe.encoding.encoder import MAX_CODES, MAX_LISTED, Encoder
from driftmoe.encoding.inheritance import check_inherited, inherit
from driftmoe.encoding.legend import Legend, read_block
from driftmoe.encoding.samples import MAX_ABSOLUTE, Sample, check_label, checked_name, clean
from driftmoe.encoding.scaling import CLIP, NOMINAL, NONE, OWN_INPUTS, write_inputs
from driftmoe.encoding.sharing import warn_of_shared

__all__ = [
    "CLIP",
    "MAX_ABSOLUTE",
    "MAX_CODES",
    "MAX_LISTED",
    "NOMINAL",
    "NONE",
    "OWN_INPUTS",
    "BlockRows",
    "Columns",
    "Encoder",
    "Legend",
    "Sample",
    "SampleRows",
    "check_inherited",
    "check_label",
    "checked_name",
    "clean",
    "inherit",
    "read_block",
    "warn_of_shared",
    "write_inputs",
]
