"""The order of features: that of their columns, by looking up what is present."""

from __future__ import annotations

import numpy as np
import pytest

from driftmoe.encoding.order import in_order


class Counting(dict):
    """Columns that count how often they are asked."""

    n_asked = 0

    def __getitem__(self, name):
        self.n_asked += 1
        return super().__getitem__(name)

    def __contains__(self, name):
        self.n_asked += 1
        return super().__contains__(name)

    def __iter__(self):
        for name in super().__iter__():
            self.n_asked += 1
            yield name


@pytest.mark.parametrize("n_present", [1, 20, 300, 1000])
def test_features_are_ordered_by_looking_up_those_that_are_present(n_present):
    columns = Counting({f"w{i}": i for i in range(1000)})
    names = np.random.default_rng(n_present).permutation(1000)[:n_present]
    sample = {"unknown": 0.0} | {f"w{i}": float(i) for i in names}
    ordered = in_order(sample, columns)
    assert list(ordered.items()) == [(f"w{i}", float(i)) for i in sorted(names)]
    assert columns.n_asked <= min(8 * len(sample), 1000)  # not all, where few are present
