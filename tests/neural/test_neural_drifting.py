"""Digits that drift: their concepts, forgetting and recovery."""

from __future__ import annotations

import pytest
import torch

from driftmoe.neural import Setup, open_experiment
from driftmoe.neural.drifting import Drifting, TrainingOnDigits, digits


def test_permutations_move_pixels_labels_are_renamed_and_pictures_turned():
    pictures, labels, held_out = digits()
    asked = pictures[held_out].flatten(1)
    for kind in ("permutation", "rotation", "labels"):
        stream = Drifting(kind, 3, 50)
        inputs, targets = stream.concept(0, is_held_out=True)
        assert torch.allclose(inputs, asked, atol=1e-5)
        assert torch.equal(targets, labels[held_out])
        later, renamed = stream.concept(2, is_held_out=True)
        if kind == "labels":
            assert torch.equal(later, inputs)
            pairs = set(zip(targets.tolist(), renamed.tolist(), strict=True))
            assert len(pairs) == 10
            assert not torch.equal(renamed, targets)
        else:
            assert torch.equal(renamed, targets)
            assert not torch.allclose(later, inputs)
    order = Drifting("permutation", 3, 50)._orders[2]
    assert torch.equal(Drifting("permutation", 3, 50).concept(2, is_held_out=True)[0], asked[:, order])
    assert sorted(order.tolist()) == list(range(64))


def test_a_picture_turned_by_a_quarter_is_transposed_and_flipped():
    from driftmoe.neural.drifting import _turned

    pictures = digits()[0][:5]
    assert torch.allclose(_turned(pictures, 90.0), pictures.rot90(1, (1, 2)), atol=1e-5) or torch.allclose(
        _turned(pictures, 90.0), pictures.rot90(-1, (1, 2)), atol=1e-5
    )


def test_held_out_digits_are_never_learnt():
    asked = {tuple(row.tolist()) for row in Drifting("labels", 1, 200).concept(0, is_held_out=True)[0]}
    learnt = {tuple(row.tolist()) for inputs, _ in Drifting("labels", 1, 200).batches() for row in inputs}
    assert learnt
    assert not asked & learnt


def test_a_stream_is_the_same_each_time_and_another_with_another_seed():
    first, again, other = (list(Drifting("permutation", seed, 30).batches()) for seed in (1, 1, 2))
    assert all(
        torch.equal(a, b) for x, y in zip(first, again, strict=True) for a, b in zip(x, y, strict=True)
    )
    assert not torch.equal(first[0][0], other[0][0])
    assert Drifting("permutation", 1, 30).fingerprint() != Drifting("permutation", 2, 30).fingerprint()


def test_forgetting_is_how_far_concepts_fall_below_their_best():
    training = TrainingOnDigits(Drifting("rotation", 1, 5), Setup.parsed("plain"), 1)
    training._sums, training._accuracies = {"accuracy": 4.0, "loss": 2.0}, [0.8] * 5
    # After each of five concepts, the accuracy on each of them.
    training._held_out = [
        [0.9, 0.1, 0.1, 0.1, 0.1],
        [0.5, 0.8, 0.1, 0.1, 0.1],
        [0.4, 0.6, 0.9, 0.1, 0.1],
        [0.95, 0.5, 0.4, 0.7, 0.1],
        [0.3, 0.4, 0.5, 0.6, 0.9],
    ]
    figures, _ = training.verdict()
    assert figures["accuracy"] == pytest.approx(0.8)
    assert figures["retained"] == pytest.approx((0.3 + 0.4 + 0.5 + 0.6 + 0.9) / 5)
    assert figures["forgetting"] == pytest.approx((0.65 + 0.4 + 0.4 + 0.1) / 4)


def test_held_out_digits_are_those_that_forgetting_is_measured_on():
    stream = Drifting("permutation", 1, 5)
    training, asked = TrainingOnDigits(stream, Setup.parsed("plain"), 1), []
    training.model.register_forward_hook(lambda model, inputs, output: asked.append(inputs[0]))
    accuracies = training._of_concepts()
    assert len(accuracies) == 5
    for index, inputs in enumerate(asked):
        assert torch.equal(inputs, stream.concept(index, is_held_out=True)[0])


def test_recovery_is_read_off_the_mini_batches():
    training = TrainingOnDigits(Drifting("labels", 1, 500), Setup.parsed("plain"), 1)
    # Each concept has 100 mini-batches: 40 of them at half the accuracy, but for the first concept.
    training._accuracies = [0.9] * 100 + ([0.45] * 40 + [0.9] * 60) * 4
    training._sums = {"accuracy": sum(training._accuracies), "loss": 0.0}
    figures, _ = training.verdict()
    assert figures["mistakes_per_drift"] == pytest.approx(40 * 16 * 0.45)
    assert figures["recovery"] == pytest.approx(60 * 16)  # the first window as good ends there
    assert "forgetting" not in figures


def test_too_few_steps_for_the_concepts_are_refused():
    with pytest.raises(ValueError, match="steps=4 for 5 concepts"):
        open_experiment("drift-labels", 4, 1)
