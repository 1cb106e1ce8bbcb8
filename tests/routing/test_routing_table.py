"""A router that is a table of categories: against counts made one by one."""

from __future__ import annotations

import math

import pytest
import torch

from driftmoe.routing import TableRouter, TopK


def chosen(router, categories):
    return TopK(1)(router(torch.tensor(categories))).mask.int().argmax(-1).tolist()


def test_a_batch_counts_as_its_rows_one_by_one():
    generator = torch.Generator().manual_seed(3)
    categories = torch.randint(-1, 3, (40,), generator=generator)
    correct = torch.rand(40, 4, generator=generator) < 0.4
    observed = torch.rand(40, 4, generator=generator) < 0.7
    router = TableRouter(3, 4, fading=0.9)
    router.update(categories[:25], correct[:25], observed[:25])
    router.update(categories[25:], correct[25:], observed[25:])
    right, seen = torch.zeros(3, 4), torch.zeros(3, 4)
    for c, is_right, was_asked in zip(categories.tolist(), correct, observed, strict=True):
        if c >= 0:
            right[c] = 0.9 * right[c] + (is_right & was_asked)
            seen[c] = 0.9 * seen[c] + was_asked
    assert torch.allclose(router.right, right, atol=1e-5)
    assert torch.allclose(router.seen, seen, atol=1e-5)
    assert router(torch.tensor([[0, 1], [2, -1]])).shape == (2, 2, 4)


def test_it_finds_the_best_of_each_category_and_again_after_they_change_places():
    fading, generator = 0.95, torch.Generator().manual_seed(1)
    router = TableRouter(2, 2, fading=fading)
    memory = round(1.0 / (1.0 - fading))

    def learn(best, n):
        for _ in range(n):  # the best expert of a category is right in 9 of 10, the other in 3 of 10
            share = torch.tensor([[0.9, 0.3], [0.3, 0.9]])[[best, 1 - best]]
            router.update(torch.tensor([0, 1]), torch.rand(2, 2, generator=generator) < share)

    learn(0, 200)
    assert chosen(router, [0, 1]) == [0, 1]
    learn(1, 2 * memory)
    assert chosen(router, [0, 1]) == [1, 0]


def test_a_category_without_samples_asks_what_experts_do_elsewhere_and_a_cost_what_they_are_worth():
    correct = torch.tensor([[True, True], [True, False], [False, True], [True, True]])
    router = TableRouter(2, 2, fading=1.0, prior=1.0)
    router.update(torch.zeros(4, dtype=torch.int64), correct & torch.tensor([True, False]))
    of_first = (3.0 + 0.5) / (4.0 + 1.0)
    assert router(torch.tensor(1))[0].item() == pytest.approx(math.log(of_first))
    assert router(torch.tensor(-1)).tolist() == router(torch.tensor(1)).tolist()
    alike, dear = TableRouter(1, 2, fading=1.0), TableRouter(1, 2, fading=1.0, cost=[0.2, 0.0])
    for each in (alike, dear):  # right in 3 and 3 of 4, then in 4 and 4 of 5
        each.update(torch.zeros(4, dtype=torch.int64), correct)
        each.update(torch.zeros(1, dtype=torch.int64), torch.tensor([[True, True]]))
    assert (chosen(alike, [0]), chosen(dear, [0])) == ([0], [1])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"n_categories": 0}, "n_categories"),
        ({"fading": 0.0}, "choose a factor above 0"),
        ({"prior": 0.0}, "finite number of samples"),
        ({"cost": [1.0]}, "give 3 finite numbers"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments, said):
    with pytest.raises(ValueError, match=said):
        TableRouter(**({"n_categories": 2, "n_experts": 3} | arguments))


@pytest.mark.parametrize("categories", [[0, 2], [-2, 0], [0.0, 1.0]])
def test_a_category_that_is_none_is_refused_and_nothing_is_counted(categories):
    router = TableRouter(2, 3)
    with pytest.raises(ValueError, match="categories"):
        router.update(torch.tensor(categories), torch.ones(2, 3, dtype=torch.bool))
    with pytest.raises(ValueError, match="both have a row for each"):
        router.update(torch.tensor([0, 1]), torch.ones(2, 2, dtype=torch.bool))
    assert not router.seen.any()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16])
def test_categories_of_any_integers_are_numbers_and_no_mask(dtype):
    router, categories = TableRouter(2, 2), torch.tensor([0, 1, 1])
    router.update(categories.to(dtype), torch.tensor([[True, False], [False, True], [False, True]]))
    assert chosen(router, [0, 1]) == [0, 1]
    assert torch.equal(router(categories.to(dtype)), router(categories))
