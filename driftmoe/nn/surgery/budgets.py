"""How a number of experts is best shared among layers."""

from __future__ import annotations

import math
from collections.abc import Mapping


def allocate(costs: Mapping[str, Mapping[int, float]], budget: int) -> dict[str, int]:
    """Share a number of experts among layers so that the sum of their costs is least.

    Parameters
    ----------
    costs
        Name of the layer -> number of experts -> cost, such as `pruning_costs` gives it. Numbers that are not named, or
        cost infinity, are not chosen.
    budget
        Number of experts of all layers together, at most.

    Returns
    -------
    numbers
        Name of the layer -> number of experts. Of equal sums that with the fewest experts is taken.

    Raises
    ------
    ValueError
        If there is no layer, a number or cost is out of range, or even the least numbers exceed the budget.

    Notes
    -----
    Dynamic programming over layers, exact where costs add up; time is layers · budget · numbers of a layer.

    References
    ----------
    Bellman 1957, for a sum of costs of layers, as in layer-adaptive pruning by rate and distortion.

    Examples
    --------
    >>> from driftmoe.nn.surgery import allocate
    >>> allocate({"first": {1: 5.0, 2: 1.0, 3: 0.0}, "last": {1: 0.2, 2: 0.1, 3: 0.0}}, budget=4)
    {'first': 3, 'last': 1}
    """
    if not isinstance(costs, Mapping) or not all(
        isinstance(of_layer, Mapping) for of_layer in costs.values()
    ):
        raise TypeError(
            "allocate: costs must be name of the layer -> number of experts -> cost, such as "
            f"{{name: pruning_costs(layer, rows)}}; got {costs!r:.80}"
        )
    if not costs:
        raise ValueError("allocate: no layers; give costs by the name of the layer")
    choices = {name: _checked(name, of_layer) for name, of_layer in costs.items()}
    least = sum(min(of_layer) for of_layer in choices.values())
    if not budget >= least:  # nor NaN
        raise ValueError(
            f"allocate: budget={budget}, but the layers need {least} experts at least; choose more"
        )
    best: dict[int, tuple[float, tuple[int, ...]]] = {0: (0.0, ())}  # experts so far -> least cost, and how
    for of_layer in choices.values():
        after: dict[int, tuple[float, tuple[int, ...]]] = {}
        for used, (cost, numbers) in best.items():
            for n, more in of_layer.items():
                if used + n <= budget and (used + n not in after or cost + more < after[used + n][0]):
                    after[used + n] = cost + more, (*numbers, n)
        best = after
    _, _, numbers = min((cost, used, numbers) for used, (cost, numbers) in best.items())
    return dict(zip(choices, numbers, strict=True))


def _checked(name: str, of_layer: Mapping[int, float]) -> dict[int, float]:
    if any(n < 0 or math.isnan(cost) or cost == -math.inf for n, cost in of_layer.items()):
        raise ValueError(
            f"allocate: costs of {name!r} are {dict(of_layer)}; numbers must be >= 0 and costs no NaN"
        )
    possible = {n: cost for n, cost in of_layer.items() if cost < math.inf}
    if not possible:
        raise ValueError(f"allocate: {name!r} has no number of experts that is possible; name one")
    return possible
