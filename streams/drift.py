"""Drift by composition: streams whose samples come from one concept, then from another.

`ConceptDrift` and `RecurrentConceptDrift` give the samples of MOA's ConceptDriftStream and RecurrentConceptDriftStream
(Bifet et al. 2010, "MOA: Massive Online Analysis"). At each sample, one of Java's random numbers and a sigmoid of the
position choose one of two streams, and only the chosen one moves on. `Switching` changes at a known sample. The kinds
of drift follow Gama et al. 2014, "A survey on concept drift adaptation", sec. 2.2:

- abrupt: `Switching`, or `drifting` with a small width;
- gradual (both concepts for a while, the new one more and more often): `drifting` with a large width;
- incremental (a sequence of intermediate concepts): `incremental`; RandomRBFDrift and Hyperplane drift by themselves;
- recurrent: `recurring`, or `RecurrentConceptDrift` if each return is gradual.

A choice compares a random number with a logistic sigmoid. The exponentials of two platforms may differ in the last bit,
so a choice could differ from MOA's once in about 10**15 samples.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeVar

import numpy as np

from streams.composition import Chooser, Composition
from streams.java_random import kernel, next_double, seeded
from streams.stream import Drift, Stream, seed_or_one

__all__ = [
    "MAX_CONCEPTS", "Chooser", "Composition", "ConceptDrift", "RecurrentConceptDrift",
    "Switching", "angle_width", "drifting", "incremental", "recurring",
]  # fmt: skip

T = TypeVar("T")

MAX_CONCEPTS = 200
"""Largest number of concepts for `drifting`, which nests them: Python limits the depth of nested calls."""


class ConceptDrift(Composition):
    """A change from one stream to another, with the same samples as MOA's ConceptDriftStream.

    Sample n, counted from 1, comes from `drift_stream` with probability ``1 / (1 + exp(-4 (n - position) /
    width))``: one half at the position, 0.12 half a width before, 0.88 half a width after.

    Parameters
    ----------
    stream
        The concept before the change.
    drift_stream
        The concept after it. It starts with its own first sample.
    position
        Centre of the change, in samples.
    width
        Samples that the change takes; 0 to change at once at `position`. `angle_width` converts MOA's angle.
    seed
        Seed of the choices; `None` is the default, 1.
    n_samples
        Length, or `None` for as long as both concepts give samples.

    Raises
    ------
    ValueError
        If the concepts differ in a feature or a class, or if `position` or `width` is negative.

    See Also
    --------
    drifting : Any number of concepts.

    Examples
    --------
    >>> import streams
    >>> streams.drift.ConceptDrift(streams.make("sea"), streams.make("sea"), position=500, width=100).drifts
    [Drift(position=500, width=100)]
    """

    def __init__(
        self,
        stream: Stream,
        drift_stream: Stream,
        *,
        position: int,
        width: int,
        seed: int | None = 1,
        n_samples: int | None = None,
    ) -> None:
        position, width = _checked_change(position, width)
        super().__init__(
            [stream, drift_stream],
            segments=[(0, 0), (position, 1)],
            drifts=[Drift(position, width)],
            n_samples=n_samples,
        )
        self.position = position
        self.width = width
        self.seed = seed_or_one(seed)

    def chooser(self) -> Chooser:
        """Return a new position at the start of the choices."""
        return _random_chooser(self.seed, lambda n: _sigmoid(n, self.position, self.width))


class RecurrentConceptDrift(Composition):
    """A second concept that comes and goes, with the same samples as MOA's RecurrentConceptDriftStream.

    Both concepts continue where they stopped, so that no sample occurs twice. The probability of the second concept is
    a sum over its appearances: the sigmoid that begins it minus the sigmoid that ends it, as in `ConceptDrift`.

    Parameters
    ----------
    stream
        The concept between the appearances.
    drift_stream
        The concept that recurs.
    position
        Centre of the change to its first appearance, in samples.
    width
        Samples that each change takes.
    duration
        Samples of each appearance (MOA's `widthRecurrence`).
    stable_period
        Samples between the end of an appearance and the next (MOA's `stabPeriod`).
    n_appearances
        Number of times that `drift_stream` appears (MOA's `numRep`).
    seed
        Seed of the choices; `None` is the default, 1.
    n_samples
        Length, or `None` for as long as both concepts give samples.

    Raises
    ------
    ValueError
        If the concepts differ in a feature or a class, if `position`, `width` or `stable_period` is negative,
        or if `duration` or `n_appearances` is below 1.

    Examples
    --------
    >>> import streams
    >>> a, b = streams.make("sea"), streams.make("sea")
    >>> len(streams.drift.RecurrentConceptDrift(a, b, position=100, width=1, n_appearances=2).drifts)
    4
    """

    def __init__(
        self,
        stream: Stream,
        drift_stream: Stream,
        *,
        position: int,
        width: int,
        duration: int = 100,
        stable_period: int = 200,
        n_appearances: int = 4,
        seed: int | None = 1,
        n_samples: int | None = None,
    ) -> None:
        position, width = _checked_change(position, width)
        if duration < 1 or stable_period < 0 or n_appearances < 1:
            raise ValueError(
                f"recurrence: duration={duration}, stable_period={stable_period}, "
                f"n_appearances={n_appearances}; choose duration >= 1, stable_period >= 0, n_appearances >= 1"
            )
        self._appearances = [position + i * (duration + stable_period) for i in range(n_appearances)]
        changes = [
            (start + after, concept)
            for start in self._appearances
            for after, concept in ((0, 1), (duration, 0))
        ]
        super().__init__(
            [stream, drift_stream],
            segments=[(0, 0), *changes],
            drifts=[Drift(start, width) for start, _ in changes],
            n_samples=n_samples,
        )
        self.position = position
        self.width = width
        self.duration = duration
        self.stable_period = stable_period
        self.n_appearances = n_appearances
        self.seed = seed_or_one(seed)

    def chooser(self) -> Chooser:
        """Return a new position at the start of the choices."""

        def probability(n: np.ndarray) -> np.ndarray:
            total = np.zeros(len(n))
            for start in self._appearances:  # in MOA's order: the last bit of the sum depends on it
                total += _sigmoid(n, start, self.width) - _sigmoid(n, start + self.duration, self.width)
            return total

        return _random_chooser(self.seed, probability)


class Switching(Composition):
    """Concepts one after the other, with each change at a known sample.

    Parameters
    ----------
    concepts
        One or more streams in order. If an object is given again, it continues where it stopped, so that in `[a, b, a]`
        the first concept recurs with new samples.
    positions
        Index of the first sample of the second, third, ... concept, rising.
    n_samples
        Length, or `None` for as long as the concepts give samples.
    drifts
        The drifts to report; by default one abrupt drift at each position.

    Raises
    ------
    ValueError
        If concepts differ in a feature or a class, or if the positions are not one fewer than the concepts or
        do not rise.

    Examples
    --------
    >>> import streams
    >>> [drift.position for drift in streams.drift.Switching([streams.make("sea")] * 3, [100, 200]).drifts]
    [100, 200]
    """

    def __init__(
        self,
        concepts: Sequence[Stream],
        positions: Sequence[int],
        *,
        n_samples: int | None = None,
        drifts: Sequence[Drift] | None = None,
    ) -> None:
        _check_positions(concepts, positions)
        distinct = list({id(concept): concept for concept in concepts}.values())
        order = [next(i for i, d in enumerate(distinct) if d is concept) for concept in concepts]
        self.positions = [_whole("position", position) for position in positions]
        super().__init__(
            distinct,
            segments=list(zip([0, *self.positions], order, strict=True)),
            drifts=[Drift(position) for position in self.positions] if drifts is None else drifts,
            n_samples=n_samples,
        )
        self.order = order

    def chooser(self) -> Chooser:
        """Return a new position at the start of the choices."""
        order, done = np.array(self.order), 0

        def choose(n: int) -> np.ndarray:
            nonlocal done
            segment = np.searchsorted(self.positions, np.arange(done, done + n), side="right")
            done += n
            return order[segment]

        return choose


def drifting(
    concepts: Sequence[Stream],
    positions: Sequence[int],
    widths: int | Sequence[int],
    *,
    seed: int | None = 1,
    n_samples: int | None = None,
) -> Stream:
    """Return concepts one after the other, with abrupt or gradual drifts, nested as in MOA and CapyMOA.

    Parameters
    ----------
    concepts
        Two to `MAX_CONCEPTS` (200) streams in order. Each starts with its own first sample: a stream that is given
        twice, or two streams of one generator with one seed, repeat samples. `recurring` does not.
    positions
        Centre of each change, in samples of the whole stream, rising. There is one fewer than concepts.
    widths
        Samples that each change takes: one number for all, or one for each.
    seed
        Seed of the choices at every change. `None` is 1, the default of MOA and CapyMOA, whatever the seeds of the
        concepts.
    n_samples
        Length, or `None` for as long as the concepts give samples.

    Returns
    -------
    Stream
        ``ConceptDrift(ConceptDrift(ConceptDrift(A, B), C), D)``: the last change chooses first.

    Raises
    ------
    ValueError
        If there are fewer than two concepts or more than `MAX_CONCEPTS`, or they differ in a feature or a class; if
        the positions are not one fewer than the concepts, or do not rise; if a width is negative; or if a position or
        width is not a whole number.

    Notes
    -----
    These are the samples of CapyMOA's `DriftStream([A, GradualDrift(position, width), B, ...])` in the releases that
    compose in MOA, and of its `to_moa_stream()`. CapyMOA 0.15 composes in Python, with other random numbers and a
    sigmoid that is steeper and cut off at the ends of the width. Scripts for MOA often nest the other way,
    `ConceptDrift(A, ConceptDrift(B, C))`, with positions relative to the previous change.

    Examples
    --------
    >>> import streams
    >>> [drift.width for drift in streams.drift.drifting([streams.make("sea")] * 3, [400, 800], [1, 200]).drifts]
    [1, 200]
    """
    if len(concepts) < 2:
        raise ValueError(f"drifting: {len(concepts)} concepts; give two or more")
    if len(concepts) > MAX_CONCEPTS:
        raise ValueError(
            f"drifting: {len(concepts)} concepts; give at most {MAX_CONCEPTS}, "
            "or use Switching, which takes any number and changes at once"
        )
    _check_positions(concepts, positions)
    each_width = list(widths) if isinstance(widths, Sequence | np.ndarray) else [widths] * len(positions)
    if len(each_width) != len(positions):
        raise ValueError(f"widths: {len(each_width)} given for {len(positions)} positions; give one for each")
    stream = concepts[0]
    for concept, position, width in zip(concepts[1:], positions, each_width, strict=True):
        stream = ConceptDrift(stream, concept, position=position, width=width, seed=seed, n_samples=n_samples)
    return stream


def recurring(
    concepts: Sequence[Stream], *, every: int, n_segments: int, n_samples: int | None = None
) -> Switching:
    """Return concepts that take turns, A B C A B C ..., each of which continues where it stopped.

    Parameters
    ----------
    concepts
        Two or more streams in order.
    every
        Samples in a segment.
    n_segments
        Number of segments. The last one continues to the end.
    n_samples
        Length, or `None` for as long as the concepts give samples.

    Raises
    ------
    ValueError
        If concepts differ in a feature or a class, or if a segment has no sample.

    Examples
    --------
    >>> import streams
    >>> [drift.position for drift in streams.drift.recurring([streams.make("sea")] * 2, every=100, n_segments=3).drifts]
    [100, 200]
    """
    if every < 1 or n_segments < 1:
        raise ValueError(f"recurring: every={every}, n_segments={n_segments}; choose both at least 1")
    turns = [concepts[i % len(concepts)] for i in range(n_segments)]
    return Switching(turns, [every * i for i in range(1, n_segments)], n_samples=n_samples)


def incremental(
    make: Callable[[T, int], Stream],
    values: Sequence[T],
    *,
    position: int,
    width: int,
    seed: int | None = 1,
    n_samples: int | None = None,
) -> Switching:
    """Return a concept that changes to another through intermediate concepts, by a parameter that changes.

    The first value holds until half a width before the position, and the last one from half a width after it. The
    values between them share the width equally, in order. A parameter is used because mixing samples of the two outer
    concepts would be a gradual drift, and the average of two samples would have no label.

    Parameters
    ----------
    make
        Returns the concept for a value and a seed: `lambda noise, seed: LED(noise=noise, seed=seed)`.
    values
        Three or more values of the parameter, in order.
    position
        Centre of the change, in samples.
    width
        Samples that the change takes, at least one for each intermediate concept.
    seed
        The concept of value i gets the seed `seed + i`, so that no sample occurs twice; `None` is the default, 1.
    n_samples
        Length, or `None` for a stream without end.

    Returns
    -------
    Switching
        With one entry in `drifts`: the whole change.

    Raises
    ------
    ValueError
        If there are fewer than three values, if the width is too small for them, or if the change begins before the
        first sample.

    Examples
    --------
    >>> from streams.drift import incremental
    >>> from streams.synthetic import LED
    >>> incremental(lambda p, seed: LED(noise=p, seed=seed), [0.0, 0.1, 0.2], position=500, width=100).drifts
    [Drift(position=500, width=100)]
    """
    position, width = _checked_change(position, width)
    steps, start = len(values) - 2, position - width // 2
    if steps < 1:
        raise ValueError(
            f"incremental: {len(values)} values; give 3 or more: the outer ones hold outside the width"
        )
    if width < steps or start < 1:
        raise ValueError(
            f"incremental: position={position}, width={width} for {steps} intermediate concepts; "
            "choose a width of at least one sample for each and a position of more than half a width"
        )
    return Switching(
        [make(value, seed_or_one(seed) + i) for i, value in enumerate(values)],
        [start + width * i // steps for i in range(steps + 1)],
        n_samples=n_samples,
        drifts=[Drift(position, width)],
    )


def angle_width(alpha: float) -> int:
    """Return the width of MOA's option `alpha`: ``1 / tan(alpha)``, rounded down to a whole number of samples.

    Parameters
    ----------
    alpha
        Angle of the change in degrees, above 0 and at most 90.

    Raises
    ------
    ValueError
        If `alpha` is outside that range.

    Examples
    --------
    >>> import streams
    >>> streams.drift.angle_width(45.0), streams.drift.angle_width(0.1)
    (1, 572)
    """
    if not 0.0 < alpha <= 90.0:
        raise ValueError(f"alpha={alpha}; choose an angle above 0 and at most 90 degrees")
    return int(1.0 / math.tan(alpha * math.pi / 180.0))


def _sigmoid(n: np.ndarray, position: int, width: int) -> np.ndarray:
    # A width of 0 divides by zero as in Java: 0 before the position, NaN at it, 1 after it.
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        return 1.0 / (1.0 + np.exp(-4.0 * (n - position) / np.float64(width)))


def _random_chooser(seed: int, probability: Callable[[np.ndarray], np.ndarray]) -> Chooser:
    """Return a chooser: concept 1 with `probability(n)` at sample n (counted from 1, as in MOA), else concept 0."""
    state = seeded(seed)
    done = 0

    def choose(n: int) -> np.ndarray:
        nonlocal done
        numbers = np.empty(n)
        _fill_doubles(state, numbers)
        before = numbers > probability(
            np.arange(done + 1, done + n + 1)
        )  # False where the probability is NaN
        done += n
        return np.where(before, 0, 1)

    return choose


@kernel
def _fill_doubles(state: np.ndarray, out: np.ndarray) -> None:
    for i in range(len(out)):
        out[i] = next_double(state)


def _whole(name: str, value: int) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise ValueError(f"{name}={value!r}; choose a whole number of samples") from None


def _checked_change(position: int, width: int) -> tuple[int, int]:
    position, width = _whole("position", position), _whole("width", width)
    if position < 0 or width < 0:
        raise ValueError(
            f"change of concept: position={position}, width={width}; choose both at least 0 samples"
        )
    return position, width


def _check_positions(concepts: Sequence[Stream], positions: Sequence[int]) -> None:
    if len(positions) != len(concepts) - 1:
        raise ValueError(
            f"positions: {len(positions)} given for {len(concepts)} concepts; give one for each change"
        )
    if any(b <= a for a, b in pairwise([0, *positions])):
        raise ValueError(f"positions: {list(positions)}; choose rising positions from 1 on")
