"""The synthetic streams of published comparisons, at any length.

Six are those of the DriftMoE paper: `led_a led_g sea_a sea_g rbf_m rbf_f`. By default each has a million samples. They
equal the samples of CapyMOA's generators with instance and model seed `seed`. The concepts of LED and SEA change at
1/4, 2/4 and 3/4 of the length, at once (`_a`) or gradually (`_g`). The centroids of RBF move all the time.

In a stream of n samples, `drifting` gets ``position = n * i // 4 - width // 2`` for change i, as the paper's code
passes it to CapyMOA. The centre of the change therefore lies half a width before the quarter. The abrupt width is
50 samples, or n / 40 for streams of less than 2000 samples. The gradual width is n / 20, so 50 000 for a million.

As with MOA, all concepts of a composite have the same seed. Concepts of one generator then draw the same numbers: the
fourth concept of `sea_a` and `sea_g` repeats the samples of the first one, and the concepts between have the same
features with other labels. In `mixed_a` and the recurrent streams, concept i has the seed `seed + i` instead; the
largest seed, 2**31 - 1, is followed by -2**31.

`rbf_imbalanced` is `rbf_m` with 95 % of its samples of class 0 and 5 % of class 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from streams.drift import RecurrentConceptDrift, drifting
from streams.stream import Stream
from streams.synthetic import SEA, Agrawal, LEDDrift, Mixed, RandomRBF, RandomRBFDrift
from streams.wrappers import ClassImbalance, Take

DEFAULT_N_SAMPLES = 1_000_000
DEFAULT_SEED = 1

MOST_DROPPED = 50
"""Largest number of samples of `rbf_m` for each one of `rbf_imbalanced`. About 2 to 4 are drawn, when needed."""

Factory = Callable[[int | None, int | None], Stream]
"""`(seed, n_samples)` -> a stream; `None` is `DEFAULT_SEED` and `DEFAULT_N_SAMPLES`."""


def abrupt_width(n_samples: int) -> int:
    """Return the width of an abrupt drift in a stream of `n_samples`: 50 samples, fewer below 2000."""
    return min(50, n_samples // 40)


def gradual_width(n_samples: int) -> int:
    """Return the width of a gradual drift in a stream of `n_samples`: a twentieth of it."""
    return n_samples // 20


def _composite(make_concepts: Callable[[int], Sequence[Stream]], width_of: Callable[[int], int]) -> Factory:
    """Return the factory of a stream of concepts of equal length, with changes `width_of(n_samples)` wide."""

    def make(seed: int | None, n_samples: int | None) -> Stream:
        n = DEFAULT_N_SAMPLES if n_samples is None else n_samples
        concepts = make_concepts(DEFAULT_SEED if seed is None else seed)
        if n < len(concepts):
            raise ValueError(f"n_samples={n} for {len(concepts)} concepts; choose at least {len(concepts)}")
        width = width_of(n)
        positions = [n * i // len(concepts) - width // 2 for i in range(1, len(concepts))]
        return drifting(concepts, positions, width, n_samples=n)

    return make


def _later(seed: int, i: int) -> int:
    """Return ``seed + i`` as a 32-bit integer: 2**31 - 1 is followed by -2**31."""
    return seed + i - 2**32 if seed < 2**31 <= seed + i else seed + i


def _leds(seed: int) -> list[Stream]:
    return [LEDDrift(n_drift_features=k, seed=seed) for k in (1, 3, 5, 7)]


def _seas(seed: int) -> list[Stream]:
    return [SEA(function=f, seed=seed) for f in (1, 2, 4, 1)]


def _agrawals(seed: int) -> list[Stream]:
    # Functions as in the published MOA scripts that name these streams AGR_a and AGR_g, after Gomes et al.
    # 2017, "Adaptive random forests for evolving data stream classification": cassales/RAP-HT, ensembles.sh.
    return [Agrawal(function=f, seed=seed) for f in (1, 2, 3, 4)]


def _mixeds(seed: int) -> list[Stream]:
    # Two rules take turns. Each turn has its own seed, so that a rule returns with new samples.
    return [Mixed(function=f, seed=_later(seed, i)) for i, f in enumerate((1, 2, 1, 2))]


def _rbf(speed: float) -> Factory:
    def make(seed: int | None, n_samples: int | None) -> Stream:
        seed = DEFAULT_SEED if seed is None else seed
        return RandomRBFDrift(
            n_classes=2,
            n_features=10,
            n_centroids=50,
            n_drift_centroids=50,
            speed=speed,
            model_seed=seed,
            seed=seed,
            n_samples=DEFAULT_N_SAMPLES if n_samples is None else n_samples,
        )

    return make


def _rbf_imbalanced(seed: int | None, n_samples: int | None) -> Stream:
    n = DEFAULT_N_SAMPLES if n_samples is None else n_samples
    seed = DEFAULT_SEED if seed is None else seed
    beneath = _rbf(speed=0.0001)(seed, MOST_DROPPED * n)
    return Take(ClassImbalance(beneath, {0: 0.95, 1: 0.05}, seed=seed), n)


def _recurrent(make_concepts: Callable[[int], Sequence[Stream]]) -> Factory:
    """Return the factory of two concepts that take turns of an eighth of the stream, always with new samples."""

    def make(seed: int | None, n_samples: int | None) -> Stream:
        n = DEFAULT_N_SAMPLES if n_samples is None else n_samples
        if n < 8:
            raise ValueError(f"n_samples={n} for 8 segments; choose at least 8")
        first, second = make_concepts(DEFAULT_SEED if seed is None else seed)
        return RecurrentConceptDrift(
            first,
            second,
            position=n // 8,
            width=abrupt_width(n),
            duration=n // 8,
            stable_period=n // 8,
            n_appearances=4,
            n_samples=n,
        )

    return make


def _two_leds(seed: int) -> list[Stream]:
    return [LEDDrift(n_drift_features=k, seed=_later(seed, i)) for i, k in enumerate((1, 7))]


def _two_rbfs(seed: int) -> list[Stream]:
    return [
        RandomRBF(n_classes=4, n_features=10, n_centroids=50, model_seed=of_concept, seed=of_concept)
        for of_concept in (seed, _later(seed, 1))
    ]


STREAMS: dict[str, Factory] = {
    "led_a": _composite(_leds, abrupt_width),
    "led_g": _composite(_leds, gradual_width),
    "sea_a": _composite(_seas, abrupt_width),
    "sea_g": _composite(_seas, gradual_width),
    "rbf_m": _rbf(speed=0.0001),
    "rbf_f": _rbf(speed=0.001),
    "rbf_imbalanced": _rbf_imbalanced,
    "agrawal_a": _composite(_agrawals, abrupt_width),
    "agrawal_g": _composite(_agrawals, gradual_width),
    "mixed_a": _composite(_mixeds, abrupt_width),
    "recurrent_led": _recurrent(_two_leds),
    "recurrent_rbf": _recurrent(_two_rbfs),
}
"""Name -> factory. The first six are the paper's."""
