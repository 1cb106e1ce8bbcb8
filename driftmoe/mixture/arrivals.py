"""Samples that were predicted and wait for their labels, with what the experts said of them.

The gate is asked about a sample when it arrives. If the label comes later, what the experts say of the sample by then
is no measure of what they said: they have learnt the labels of its neighbours in time. So what they said is kept until
the label comes, and the gate learns from that; see `driftmoe.mixture.gate`.

The memory is bounded, and numbers are kept in 16 bits. A sample is known again by its vector. Where too many wait, the
oldest is given up. So nothing is lost while labels come sooner than the memory is filled, even if most never come. If
they come later, all would be lost; so the more labels find their samples gone, the more often one is given up at random
in its place, and some of the others are still there when their labels come.

References
----------
Grzenda, Gomes & Bifet 2020, Delayed labelling evaluation for data streams: the predictions of a sample differ between
its arrival and the arrival of its label. Joulani, György & Szepesvári 2013, Online learning under delayed feedback: a
learner under delay keeps what it did until the loss of it is known.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from driftmoe.compilation import compiled, kernel
from driftmoe.draws import keyed
from driftmoe.experts import Batch
from driftmoe.growth import enlarged
from driftmoe.state import State, array_of, check_names, count_of, misfit
from driftmoe.transaction import Changes, assignment

MOST_BYTES = 1 << 23
"""Bytes that the samples take at most: with many classes fewer of them are kept."""

FEWEST = 64
"""Number of places that are made first; then they double."""

FREE = -1
"""Number of a place that holds no sample."""

_ARRAYS = ("keys", "widths", "seen", "votes", "memories")

_WHOLE, _FADING = 1 << 16, 6  # a share of 1, and the binary logarithm of how many labels it covers

_ONE = 65_535.0
_LEAST_MEMORY, _MEMORY_UNIT = -12.0, 4096.0
_EXPONENT, _MINUS_ZERO = np.uint64(0x7FF0000000000000), np.uint64(0x8000000000000000)


class Arrivals:
    """Places for samples that wait, of which each holds one or is free.

    Parameters
    ----------
    n_experts, n_logits, n_memories
        As in `gate`.
    most
        Number of samples that are kept at most; 0 keeps none.

    Attributes
    ----------
    keys, widths
        Hash of the vector of each sample, uint64, and the number of its features, int64, shape (n_places,).
    numbers
        Samples are numbered as they come; `FREE` for a free place, int64, shape (n_places,).
    seen
        Number of rows that the gate had learnt when the sample came, int64, shape (n_places,).
    votes
        The experts' probabilities, in units of 1 / 65535, uint16, shape (n_places, n_experts, n_classes).
    memories
        The gate's log-likelihood memories at that time, in units of 1 / 4096 nats from -12 on, uint16, shape
        (n_places, n_memories, n_logits).
    counts
        Number of the next sample, of the samples that wait, and of those that may wait, and what share of the last
        labels found their samples gone, in units of 1 / 65536; int64, shape (4,).
    """

    def __init__(self, n_experts: int, n_logits: int, n_memories: int, most: int) -> None:
        self.most = most
        self.keys, self.numbers = np.zeros(0, np.uint64), np.zeros(0, np.int64)
        self.widths, self.seen = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self.votes = np.zeros((0, n_experts, 0), np.uint16)
        self.memories = np.zeros((0, n_memories, n_logits), np.uint16)
        self.counts = np.zeros(4, np.int64)

    @property
    def n_waiting(self) -> int:
        """Number of samples that wait."""
        return int(self.counts[1])

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """The arrays that kernels read and write."""
        return self.keys, self.widths, self.numbers, self.seen, self.votes, self.memories, self.counts

    def has_room(self, n_rows: int, n_classes: int) -> bool:
        """Return whether as many samples can be kept, the oldest given up only where no more are allowed."""
        n_places, most = len(self.keys), self._most_of(n_classes)
        is_full = n_places >= most
        return n_classes <= self.votes.shape[2] and (is_full or self.n_waiting + n_rows <= n_places)

    def with_room(self, n_rows: int, n_classes: int) -> Arrivals:
        """Return the same samples with room for others, as another object; itself if it has room.

        Parameters
        ----------
        n_rows
            Number of samples to come.
        n_classes
            Number of classes that their votes have.
        """
        if not self.most or not n_rows or self.has_room(n_rows, n_classes):
            return self
        n_classes = max(n_classes, self.votes.shape[2])
        most = self._most_of(n_classes)
        n_places = max(len(self.keys), FEWEST)
        while n_places < self.n_waiting + n_rows:
            n_places *= 2
        # Where fewer may wait than do, `keep` gives the others up: rows of this step may take them first.
        new = self._of(self._in_order(), max(min(n_places, most), self.n_waiting), n_classes)
        new.counts[2] = most
        return new

    def state(self) -> State:
        """Return the samples that wait, the oldest first; see `driftmoe.state`."""
        kept = self._in_order()
        state: State = {name: getattr(self, name)[kept] for name in _ARRAYS}
        return state | ({"missed": int(self.counts[3])} if self.counts[3] else {})

    def restore(self, state: State) -> None:
        """Restore a state; see `driftmoe.state`."""
        check_names(state, (*_ARRAYS, *(["missed"] if "missed" in state else [])), self)
        missed = count_of(state, "missed", self) if "missed" in state else 0
        if missed >= _WHOLE:
            raise misfit(self, "missed", f"is {missed}", f"it must be below {_WHOLE}")
        arrays = {}
        for name in _ARRAYS:
            own = getattr(self, name)
            shape = (None, *own.shape[1:])
            arrays[name] = array_of(
                state, name, own.dtype, (*shape[:2], None) if name == "votes" else shape, self
            )
        n, n_classes = len(arrays["keys"]), arrays["votes"].shape[2]
        for name, array in arrays.items():
            if len(array) != n:
                raise misfit(self, name, f"is of {len(array)} samples", f"it must be of {n}, as 'keys'")
        if n > self.most:
            raise misfit(self, "keys", f"is of {n} samples", f"at most {self.most} may wait")
        for name in ("widths", "seen"):
            if n and arrays[name].min() < 0:
                raise misfit(self, name, f"has {arrays[name].min()}", "it must be 0 or more")
        counts = np.array([n, n, self._most_of(n_classes), missed])
        vars(self).update(arrays, numbers=np.arange(n), counts=counts)

    def of(self, state: State | None) -> Arrivals:
        """Return another object, restored to a state; without samples if there is none."""
        n_experts, (n_memories, n_logits) = self.votes.shape[1], self.memories.shape[1:]
        new = Arrivals(n_experts, n_logits, n_memories, self.most)
        if state is not None:
            new.restore(state)
        return new

    def sizes(self) -> dict[str, int]:
        """Return how many classes the votes have."""
        return {"n_classes": self.votes.shape[2]}

    def _most_of(self, n_classes: int) -> int:
        """Return the number of samples that may wait, with votes on this number of classes."""
        n_experts, (n_memories, n_logits) = self.votes.shape[1], self.memories.shape[1:]
        of_sample = 32 + 2 * (n_experts * n_classes + n_memories * n_logits)
        return min(self.most, max(MOST_BYTES // of_sample, 1))

    def _in_order(self) -> np.ndarray:
        """Return the places that hold samples, the oldest first."""
        held = np.flatnonzero(self.numbers != FREE)
        return held[np.argsort(self.numbers[held])]

    def _of(self, kept: np.ndarray, n_places: int, n_classes: int) -> Arrivals:
        """Return another object with the samples of some places, in this order."""
        new = self.of(None)
        for name in _ARRAYS:
            own: np.ndarray = getattr(self, name)[kept]
            shape = (n_places, *own.shape[1:])
            setattr(new, name, enlarged(own, (*shape[:2], n_classes) if name == "votes" else shape))
        new.numbers = np.full(n_places, FREE)
        new.numbers[: len(kept)] = np.arange(len(kept))
        new.counts = np.array([len(kept), len(kept), *self.counts[2:]])
        return new


def with_room(mixture: Any, batch: Batch, changes: Changes) -> Arrivals:
    """Return places of a mixture for rows that will wait. Where there are too few, a change puts others in place."""
    own: Arrivals = mixture.arrivals
    arrivals = own.with_room(int(np.count_nonzero(batch.awaits)), batch.n_classes)
    if arrivals is not own:
        changes.append(assignment(mixture, arrivals=arrivals))
    return arrivals


def bits_of(vectors: np.ndarray) -> np.ndarray:
    """Return the bits of vectors, float64, as uint64: what `key_of` reads."""
    return vectors.view(np.uint64)


@kernel
def keys_of(bits, keys):  # type: ignore[no-untyped-def]
    """Write the hash of the first n features of a vector for each n, shape (n_features + 1,), and return that of all.

    Missing values do not count.
    """
    key = np.uint64(0)
    keys[0] = key
    for column in range(bits.shape[0]):
        value = bits[column]
        if (value & _EXPONENT) != _EXPONENT:  # not NaN; there are no infinite numbers
            if value == _MINUS_ZERO:
                value = np.uint64(0)
            key = keyed(key ^ value, column)
        keys[column + 1] = key
    return key


@kernel
def given_up(drawn, missed, keys, numbers):  # type: ignore[no-untyped-def]
    """Return the place of the sample that is given up: the oldest, or one at random.

    Parameters
    ----------
    drawn
        Random bits, uint64. The sample at random is the one whose key is nearest to bits drawn from them; of equal keys
        the oldest. So it does not depend on where samples lie.
    missed
        The probability that it is one at random, in units of 1 / 65536.
    keys, numbers
        As of `Arrivals`; at least one sample waits.
    """
    is_random = np.int64(drawn & np.uint64(_WHOLE - 1)) < missed
    wanted = np.uint64(keyed(drawn, 0))
    place = -1
    for i in range(numbers.shape[0]):
        if numbers[i] == FREE:
            continue
        if place < 0:
            place = i
            continue
        ours, theirs = keys[i] ^ wanted, keys[place] ^ wanted
        is_older = numbers[i] < numbers[place]
        if (is_random and (ours < theirs or (ours == theirs and is_older))) or (not is_random and is_older):
            place = i
    return place


@kernel
def keep(  # type: ignore[no-untyped-def]
    bits, expert_proba, now, n_seen, room, keys, widths, numbers, seen, votes, memories, counts
):
    """Keep a sample that has just been predicted, in a free place. If too many wait, others are given up.

    Parameters
    ----------
    bits
        Of its vector, as `bits_of` gives them, shape (n_features,).
    expert_proba
        Votes on it, shape (n_experts, n_classes).
    now
        The memories of the gate, shape (n_memories, n_logits).
    n_seen
        Number of rows that the gate has learnt.
    room
        Room for hashes, uint64, shape (n_features + 1,).
    keys, widths, numbers, seen, votes, memories, counts
        As of `Arrivals`; updated.
    """
    key = keys_of(bits, room)
    drawn = keyed(key, n_seen)
    while counts[1] >= counts[2]:
        drawn = keyed(drawn, counts[1])
        numbers[given_up(drawn, counts[3], keys, numbers)] = FREE
        counts[1] -= 1
    place = 0
    while numbers[place] != FREE:
        place += 1
    keys[place], widths[place] = key, bits.shape[0]
    numbers[place], seen[place] = counts[0], n_seen
    counts[0] += 1
    counts[1] += 1
    for e in range(votes.shape[1]):
        for c in range(votes.shape[2]):
            share = expert_proba[e, c] if c < expert_proba.shape[1] else 0.0
            votes[place, e, c] = np.uint16(share * _ONE + 0.5)
    for h in range(memories.shape[1]):
        for e in range(memories.shape[2]):
            unit = (now[h, e] - _LEAST_MEMORY) * _MEMORY_UNIT + 0.5
            memories[place, h, e] = np.uint16(min(max(unit, 0.0), _ONE))


@kernel
def taken_up(bits, room, keys, widths, numbers, counts):  # type: ignore[no-untyped-def]
    """Return the place of the oldest sample with a vector, which is free from now on; -1 if there is none.

    Features that were not known when it came do not count. What the place holds can be read until the next sample
    comes. The parameters are those of `keep`.
    """
    if counts[1] == 0:
        return -1
    keys_of(bits, room)
    place = -1
    for i in range(keys.shape[0]):
        is_it = numbers[i] != FREE and widths[i] <= bits.shape[0] and keys[i] == room[widths[i]]
        if is_it and (place < 0 or numbers[i] < numbers[place]):
            place = i
    if counts[1] >= counts[2]:  # where a sample has been given up for another one, or will be
        counts[3] += (
            (_WHOLE - counts[3]) >> _FADING if place < 0 else -((counts[3] + (1 << _FADING) - 1) >> _FADING)
        )
    if place >= 0:
        numbers[place] = FREE
        counts[1] -= 1
    return place


@kernel
def vote_of(kept):  # type: ignore[no-untyped-def]
    """Return the probability that a kept number stands for."""
    return np.float64(kept) / _ONE


@kernel
def memory_of(kept):  # type: ignore[no-untyped-def]
    """Return the memory, in nats, that a kept number stands for."""
    return np.float64(kept) / _MEMORY_UNIT + _LEAST_MEMORY


@compiled()
def keep_all(  # type: ignore[no-untyped-def]
    awaits, bits, expert_proba, now, n_seen, keys, widths, numbers, seen, votes, memories, counts
):
    """Keep the rows whose labels will come, in order; see `keep`. All arrays of the sample have a row for each."""
    room = np.empty(bits.shape[1] + 1, np.uint64)
    for row in range(bits.shape[0]):
        if not awaits[row] or numbers.shape[0] == 0:
            continue
        keep(
            bits[row], expert_proba[row], now, n_seen[0], room, keys, widths, numbers, seen, votes, memories, counts
        )  # fmt: skip
