"""The expert that follows the labels."""

from __future__ import annotations

import numpy as np
import pytest
from batches import batch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference.experts import follow_slowly

from driftmoe.experts.history import LabelHistory


@given(
    rows=st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from([1.0, 1.0, 0.5, 3.0])), min_size=1, max_size=60
    ),
    cut=st.integers(0, 60),
)
@settings(deadline=None)
def test_history_is_its_readable_twin(rows, cut):
    history = LabelHistory()
    targets, taught = np.array([target for target, _ in rows]), np.array([weight for _, weight in rows])
    votes = []
    for part in (slice(cut), slice(cut, None)):
        n = len(targets[part])
        if n:
            inputs = np.zeros((n, 1), np.float32)
            votes.append(
                history.step(batch(inputs, 4, targets[part], taught[part]), asked=np.ones(n, np.bool_))
            )
    np.testing.assert_allclose(np.concatenate(votes)[:, 0], follow_slowly(targets, taught, 4), rtol=1e-9)
    one_more = history.predict_proba(batch(np.zeros((1, 1), np.float32), 4))[0, 0]
    np.testing.assert_allclose(one_more, follow_slowly([*targets, 0], [*taught, 1.0], 4)[-1], rtol=1e-9)


def test_history_of_many_classes_takes_bounded_memory():
    history = LabelHistory()
    targets = np.arange(3000)
    votes = history.step(
        batch(np.zeros((3000, 1), np.float32), 3000, targets, np.ones(3000)), asked=np.ones(3000, np.bool_)
    )
    assert history._transition_counts.nbytes < 10**6
    assert votes[10].sum() == pytest.approx(1.0)
    assert votes[2999].sum() == 0.0
