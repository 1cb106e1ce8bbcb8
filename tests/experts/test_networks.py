"""Networks as experts: torch's own networks are the twins."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from batches import batch
from torch import nn

from driftmoe.experts import NetworkPrototype, Networks

SMALL = {"hidden": (6,), "learning_rate": 0.05, "batch_size": 8}


def test_networks_learn_as_torch_would_teach_them():
    rng = np.random.default_rng(3)
    networks = Networks(2, hidden=(6,), learning_rate=0.05, batch_size=8, rng=np.random.default_rng(1))
    inputs = rng.normal(size=(40, 3)).astype(np.float32)
    targets, taught = rng.integers(0, 3, 40), rng.integers(0, 3, (40, 2))
    twins = []
    for network in networks._networks:
        network.grow(3, 3)
        layers = [nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 3)]
        with torch.no_grad():
            for layer, (weights, biases) in zip(layers[::2], network._layers(network._weights), strict=True):
                layer.weight.copy_(torch.from_numpy(weights.T))
                layer.bias.copy_(torch.from_numpy(biases))
        twin = nn.Sequential(*layers)
        twins.append((twin, torch.optim.Adam(twin.parameters(), lr=0.05)))
    for start in range(0, 40, 8):
        rows = slice(start, start + 8)
        expected = np.stack([twin(torch.tensor(inputs[rows])).softmax(-1).detach() for twin, _ in twins], 1)
        votes = networks.predict_proba(batch(inputs[rows], 3))
        np.testing.assert_allclose(votes, expected if start else 0.0 * expected, rtol=1e-4, atol=1e-6)
        for piece in (slice(start, start + 3), slice(start + 3, start + 8)):
            networks.step(batch(inputs[piece], 3, targets[piece]), taught[piece])
        for e, (twin, optimizer) in enumerate(twins):
            losses = nn.functional.cross_entropy(
                twin(torch.tensor(inputs[rows])), torch.tensor(targets[rows]), reduction="none"
            )
            optimizer.zero_grad()
            (losses * torch.tensor(taught[rows, e])).mean().backward()
            optimizer.step()


def test_a_network_that_is_not_taught_stays_as_it_is():
    rng = np.random.default_rng(0)
    networks = Networks(2, hidden=(4,), learning_rate=0.1, batch_size=4, rng=rng)
    inputs, targets = rng.normal(size=(8, 2)).astype(np.float32), np.array([0, 1] * 4)
    networks.step(batch(inputs[:4], 2, targets[:4]))
    before = networks.predict_proba(batch(inputs, 2))
    first = networks._networks[0]._weights.copy()
    networks.step(batch(inputs[4:], 2, targets[4:]), np.array([[False, True]] * 4))
    assert networks._networks[0]._weights.tolist() == first.tolist()
    assert (networks.predict_proba(batch(inputs, 2))[:, 1] != before[:, 1]).any()


def test_a_network_that_was_never_taught_has_no_vote():
    networks = Networks(2, hidden=(4,), learning_rate=0.1, batch_size=2, rng=np.random.default_rng(0))
    networks.step(batch(np.ones((2, 1), np.float32), 2, np.array([0, 1])), np.array([[False, True]] * 2))
    assert networks.predict_proba(batch(np.ones((1, 1), np.float32), 2))[0].sum(axis=1).tolist() == [0.0, 1.0]


def test_new_inputs_and_classes_leave_what_was_learnt_and_predicting_changes_nothing():
    rng = np.random.default_rng(1)
    inputs, targets = rng.normal(size=(40, 2)).astype(np.float32), rng.integers(0, 2, 40)
    networks = Networks(2, **SMALL, rng=np.random.default_rng(1))
    for start in range(0, 40, 8):
        networks.step(batch(inputs[start : start + 8], 2, targets[start : start + 8]))
    before, state = networks.predict_proba(batch(inputs, 2)), repr(networks.state())
    wider = np.hstack([inputs, rng.normal(size=(40, 3)).astype(np.float32)])
    known = networks.predict_proba(batch(wider, 4))
    assert repr(networks.state()) == state
    assert known[:, :, :2].tolist() == before.tolist()
    assert not known[:, :, 2:].any()
    votes = networks.step(batch(wider[:1] * [1, 1, 0, 0, 0], 3, [2]))  # no step yet
    assert networks.sizes() == {"n_inputs": 5, "n_classes": 3}
    np.testing.assert_allclose(votes[0, :, 1] / votes[0, :, 0], before[0, :, 1] / before[0, :, 0], rtol=1e-5)


def test_a_prototype_makes_networks_of_its_sizes():
    prototype = NetworkPrototype(**SMALL)
    ours = prototype.multiclass(3, np.random.default_rng(4), n_threads=1, detectors={})
    twins = Networks(3, **SMALL, rng=np.random.default_rng(4))
    rng = np.random.default_rng(1)
    rows = batch(rng.normal(size=(8, 2)), 2, rng.integers(0, 2, 8))
    assert ours.step(rows).tolist() == twins.step(rows).tolist()
    assert ours.predict_proba(rows).tolist() == twins.predict_proba(rows).tolist()
    assert (ours.n_experts, prototype.arguments) == (3, {"batch_size", "class_weight", "max_bytes"})


def test_a_network_is_no_expert_of_one_class():
    with pytest.raises(ValueError, match="a network distinguishes all classes"):
        NetworkPrototype(**SMALL).one_vs_rest(np.random.default_rng(1), n_threads=1)


def test_a_state_with_another_number_of_networks_is_refused():
    three, two = (Networks(n, **SMALL, rng=np.random.default_rng(1)) for n in (3, 2))
    with pytest.raises(ValueError, match="the state of Networks has 3 networks and there are 2"):
        two.restore(three.state())
