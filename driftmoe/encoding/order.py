"""The order of a sample's features, by what is present."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from operator import itemgetter

from driftmoe.encoding.samples import Sample

FEW = 8
"""Of so many features all are looked up as fast as one that is present is sorted."""


def in_order(sample: Sample, columns: Mapping[Hashable, int]) -> Sample:
    """Return a cleaned sample with its features in the order of `columns`, without those that are not there.

    An expert may break a tie by the order of the features, which must not depend on the caller's dict.

    Parameters
    ----------
    columns
        Feature -> column, in ascending order.
    """
    if FEW * len(sample) < len(columns):  # few features of many are present
        known = sorted(((columns[name], name) for name in sample if name in columns), key=itemgetter(0))
        return {name: sample[name] for _, name in known}
    return {name: sample[name] for name in columns if name in sample}
