"""Versions of a model that are merged with fitted coefficients."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from small_layers import normal
from torch import nn

from driftmoe.nn.surgery import fit_merge


def network():
    model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4))
    with torch.no_grad():
        for seed, parameter in enumerate(model.parameters()):
            parameter.copy_(0.4 * normal(*parameter.shape, seed=seed))
    return model


def trained(model, x, seed):
    """The weights of the model after it has learnt classes for rows; the model stays as it is."""
    own = network()
    own.load_state_dict(model.state_dict())
    y = (x @ normal(8, 4, seed=seed)).argmax(-1)
    step = torch.optim.Adam(own.parameters(), lr=0.03)
    for _ in range(40):
        step.zero_grad()
        nn.functional.cross_entropy(own(x), y).backward()
        step.step()
    return {name: tensor.clone() for name, tensor in own.state_dict().items()}, y


def test_fitted_coefficients_beat_equal_ones_on_two_versions_trained_apart():
    model = network()
    tasks = [normal(128, 8, seed=20 + k) * (torch.arange(8) % 2 == k) for k in range(2)]
    (one, y_one), (other, y_other) = (trained(model, x, seed=30 + k) for k, x in enumerate(tasks))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.inference_mode():
        rows = [x.clone() for x in tasks]
        fitted = fit_merge(model, [one, other], rows, hidden=["0"], n_steps=60, rate=0.05)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert fitted.losses[1] < 0.8 * fitted.losses[0]
    assert {name: c.shape for name, c in fitted.coefficients.items()} == {"0": (2,), "2": (2,)}
    errors = []
    for state in ({name: (one[name] + other[name]) / 2 for name in one}, fitted.state):
        model.load_state_dict(state)
        errors.append(
            sum(
                nn.functional.cross_entropy(model(x), y) for x, y in zip(tasks, (y_one, y_other), strict=True)
            )
        )
    assert errors[1] < 0.8 * errors[0]


def test_tasks_that_read_inputs_of_their_own_are_merged_whole_and_a_pull_holds_back():
    model = nn.Linear(4, 3)
    versions = []
    for k in range(2):
        weight = model.weight.detach().clone()
        weight[:, 2 * k : 2 * k + 2] += normal(3, 2, seed=k)
        versions.append({"weight": weight})
    tasks = [normal(32, 4, seed=5) * (torch.arange(4) // 2 == k) for k in range(2)]
    fitted = fit_merge(model, versions, [{"input": x} for x in tasks], n_steps=80, rate=0.04)
    torch.testing.assert_close(fitted.coefficients[""], torch.ones(2), atol=0.05, rtol=0.0)
    held = fit_merge(model, versions, tasks, n_steps=20, pull=1e4).coefficients[""]
    assert (held - 0.5).abs().max() < 0.03
    squared = fit_merge(model, versions, tasks, compare=nn.functional.mse_loss, n_steps=80, rate=0.04)
    assert squared.losses[1] < 0.01 * squared.losses[0]


class Tied(nn.Module):
    """An embedding whose weights are those of the head, too."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, x):
        return self.head(self.embed(x).tanh())


def test_tied_weights_are_merged_under_either_name():
    model, x = Tied(), normal(16, 4)
    one, other = (model.embed.weight.detach() + normal(4, 4, seed=k) for k in range(2))
    fit = partial(fit_merge, model, inputs=[x, x], n_steps=5)
    expected = fit([{"embed.weight": one}, {"embed.weight": other}])
    for versions in (
        [{"embed.weight": one}, {"head.weight": other}],
        [{"head.weight": one, "embed.weight": one}, {"head.weight": other}],
    ):
        fitted = fit(versions)
        assert list(fitted.state) == ["embed.weight"]
        assert torch.equal(fitted.state["embed.weight"], expected.state["embed.weight"])
    with pytest.raises(ValueError, match="are one tensor of the model, but two in version 1; give one"):
        fit([{"embed.weight": one}, {"embed.weight": one, "head.weight": other}])


def test_versions_that_do_not_fit_are_refused():
    model, x = nn.Linear(4, 3), torch.ones(2, 4)
    other = {"weight": torch.ones(3, 4)}
    for arguments, words in (
        (([other], [x, x]), "1 versions and inputs of 2"),
        (([{"weights": torch.ones(3, 4)}], [x]), "'weights' of version 0 is not in the model"),
        (([{"weight": torch.ones(4, 3)}], [x]), "not in the model with shape"),
        (([model.state_dict()], [x]), "no version differs"),
    ):
        with pytest.raises(ValueError, match=words):
            fit_merge(model, *arguments)
    with pytest.raises(ValueError, match=r"hidden=\['deep'\] are no modules"):
        fit_merge(model, [other], [x], hidden=["deep"])
