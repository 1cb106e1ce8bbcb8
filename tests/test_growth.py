"""Arrays that grow, and room for values of nominal features."""

from __future__ import annotations

import numpy as np
import pytest

from driftmoe import growth
from driftmoe.growth import carry, enlarged
from driftmoe.trees.storage import room_for_values


@pytest.mark.parametrize("is_sparse", [False, True])
def test_an_enlarged_array_keeps_its_entries_in_their_places(is_sparse, monkeypatch):
    monkeypatch.setattr(growth, "FEW_PAGES", 0)
    array = np.array([[0.0, -0.0, np.nan], [0.0, 0.0, 2.0]])
    larger = enlarged(array, (3, 4), is_sparse=is_sparse)
    np.testing.assert_array_equal(larger[:2, :3].view(np.int64), array.view(np.int64))
    assert not larger[2].any()
    assert not larger[:, 3].any()
    assert enlarged(array, (2, 3), is_sparse=is_sparse) is array


def test_zeros_are_not_written_where_there_are_many(monkeypatch):
    monkeypatch.setattr(growth, "FEW_PAGES", 24)
    array, place = np.zeros((2, 3)), np.full((2, 3), 9.0)
    array[1, 2] = 1.0
    carry(array, place)
    assert place.tolist() == [[9.0, 9.0, 9.0], [9.0, 9.0, 1.0]]
    monkeypatch.setattr(growth, "FEW_PAGES", 25)
    carry(array, place)
    assert place.tolist() == array.tolist()


@pytest.mark.parametrize(
    ("room", "needed", "expected"),
    [
        ([0, 0], [2, 20], [2, 20]),  # all that is needed, where many values come at once
        ([2, 20], [3, 20], [4, 20]),
        ([20, 2], [21, 2], [32, 2]),  # at most the next power of two
        ([200, 2], [201, 2], [256, 2]),
        ([128, 128, 256, 64], [129, 97, 256, 40], [256, 256, 256, 64]),  # the second before it needs it
        ([16, 128], [17, 100], [32, 128]),
    ],
)
def test_room_for_values_doubles_up_to_a_power_of_two(room, needed, expected):
    assert room_for_values(np.array(room), np.array(needed)).tolist() == expected
