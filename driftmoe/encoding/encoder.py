"""The encoder: names, values, classes and scale of all samples learnt so far."""

from __future__ import annotations

import copy
import math
from array import array
from collections.abc import Hashable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from driftmoe.encoding.legend import BEYOND, UNLISTED, Legend, check_indices, read_block
from driftmoe.encoding.order import in_order
from driftmoe.encoding.samples import MAX_ABSOLUTE, PLAIN, Sample, checked_name, clean, entering, short
from driftmoe.encoding.scaling import COUNT, NOMINAL, NONE, OWN_INPUTS, input_place, write_inputs
from driftmoe.encoding.sharing import code_of
from driftmoe.encoding.state import check_state
from driftmoe.state import State
from driftmoe.transaction import NO_WEIGHTS, StepPlan, carry_out, copying, publication

MAX_CODES = 256
"""Number of values of a nominal feature with a code of their own. Later values share these codes, by their hash.

A tree that splits on a feature has a leaf for each value, and each leaf a count for each value: the square of it."""

MAX_LISTED = 256
"""Longest list whose values are looked up once for all blocks. In longer lists each block looks up its own values."""


class Encoder:
    """Remembers the names, nominal values, classes and scale of all samples so far; it grows and never forgets.

    Parameters
    ----------
    nominal
        Names of features whose numbers are codes of categories. Text is always nominal.
    max_features
        Greatest number of features. Later ones are ignored. `None` for no bound.
    max_classes
        Greatest number of classes. The encoder refuses later ones; see `refuses`. `None` for no bound.
    has_bound
        Whether the model has another bound, for which it may ignore values or samples.

    Attributes
    ----------
    classes
        Labels in the order of appearance; a target is an index into this list.
    features
        Names of the features in the order of appearance; a vector has a column for each.
    n_inputs
        Number of the router's inputs.
    n_ignored_values
        Number of values in learnt samples that were ignored, because their feature is beyond `max_features`.
    n_ignored_samples
        Number of samples that were not learnt, because their label is beyond `max_classes`.
    n_shared_values
        Number of values in learnt samples that share a code, because their feature has `MAX_CODES` others.
    full
        Nominal features all of whose codes are taken -> value -> code.
    """

    def __init__(
        self,
        nominal: Iterable[Hashable] = (),
        *,
        max_features: int | None = None,
        max_classes: int | None = None,
        has_bound: bool = False,
    ) -> None:
        self.max_features, self.max_classes, self._has_bound = max_features, max_classes, has_bound
        self.n_ignored_values = self.n_ignored_samples = self.n_shared_values = 0
        self.classes: list[Hashable] = []
        self.features: list[Hashable] = []
        self.n_inputs = 0
        self._nominal = frozenset(nominal)
        self._targets: dict[Hashable, int] = {}
        self._columns: dict[Hashable, int] = {}
        self._kinds: dict[Hashable, str] = {}
        self._codes: dict[Hashable, dict[Hashable, int]] = {}  # nominal feature -> value -> code
        self.full: dict[Hashable, dict[Hashable, int]] = {}
        self._readers: list[tuple[Hashable, dict[Hashable, int] | None]] = []  # of each column: name, codes
        self._take: Any = itemgetter(None)  # returns the values of all columns, if there are two or more
        self._inputs_of = np.zeros((0, 1), np.int64)  # (column, 0) of a number, (column, code) of others
        self._moments = np.zeros((3, 0))  # (COUNT | MEAN | M2, column) of the numbers, Welford 1962

    def state(self) -> State:
        """Return all that the encoder knows, as plain values that share nothing with it.

        Returns
        -------
        state
            - `"features"`: names in the order of appearance.
            - `"feature_kinds"`: for each feature `"number"` or `"text"`.
            - `"nominal_values"`: for each feature the list of its values in the order of their codes, `None` for a
              number.
            - `"classes"`: labels in the order of appearance.
            - `"input_indices"`: index of the router's input of each number, in column 0, or of each code; -1 for none;
              int64, shape (n_features, 1), or (n_features, 128) if there is a nominal feature.
            - `"scaling_moments"`: weight, mean and sum of squared deviations of each number; the weight is -1 for a
              nominal feature; float64, shape (3, n_features).
            - `"n_ignored_values"`, `"n_ignored_samples"`: as far as there is a bound; `"n_shared_values"` if above 0.
        """
        state: State = {
            "features": list(self.features),
            "feature_kinds": [self._kinds[name] for name in self.features],
            "nominal_values": self.values,
            "classes": list(self.classes),
            "input_indices": self._inputs_of.copy(),
            "scaling_moments": self._moments.copy(),
        }
        shared = {"n_shared_values": self.n_shared_values} if self.n_shared_values else {}
        return state | {name: getattr(self, name) for name in self._counters} | shared

    def restore(self, state: State) -> None:
        """Restore the state of an encoder that was built with the same `nominal`; see `driftmoe.state`.

        Legends and columns of blocks that were read before are no longer valid.

        Raises
        ------
        TypeError, ValueError
            If entries are missing, unknown or wrong, or do not fit together; then nothing has changed.
        """
        bounds = {"max_features": self.max_features, "max_classes": self.max_classes}
        check_state(state, self._nominal, MAX_CODES, self._counters, **bounds)
        draft = Encoder(self._nominal, **bounds, has_bound=self._has_bound)
        for name in [*self._counters, "n_shared_values"]:
            setattr(draft, name, state.get(name, 0))
        draft.features = [checked_name(name) for name in state["features"]]
        draft.classes = list(state["classes"])
        draft._columns = {name: column for column, name in enumerate(draft.features)}
        draft._targets = {label: target for target, label in enumerate(draft.classes)}
        draft._kinds = dict(zip(draft.features, state["feature_kinds"], strict=True))
        draft._codes = {
            name: {value: code for code, value in enumerate(values)}
            for name, values in zip(draft.features, state["nominal_values"], strict=True)
            if values is not None
        }
        draft._note_codes()
        draft._inputs_of, draft._moments = state["input_indices"].copy(), state["scaling_moments"].copy()
        draft.n_inputs = int((draft._inputs_of != NONE).sum())
        publication(self, draft)()

    @property
    def kinds(self) -> dict[Hashable, str]:
        """Feature name -> `"number"` or `"text"`, for the features seen so far."""
        return self._kinds

    @property
    def nominal_columns(self) -> list[int]:
        """Indices of the columns of vectors that hold codes."""
        return [self._columns[name] for name in self._codes]

    @property
    def values(self) -> list[list[Hashable] | None]:
        """Values that the codes of each column stand for; `None` for a column of numbers."""
        return [None if codes is None else list(codes) for _, codes in self._readers]

    @property
    def n_values(self) -> int:
        """Number of values of nominal features that have a code."""
        return sum(map(len, self._codes.values()))

    @property
    def version(self) -> int:
        """Number of features, values and classes so far. It changes whenever something is added."""
        return len(self.features) + len(self.classes) + self.n_values

    @property
    def _counters(self) -> list[str]:
        """Names of the counters of what a bound leaves out."""
        bounds = {"n_ignored_values": self.max_features, "n_ignored_samples": self.max_classes}
        return [name for name, bound in bounds.items() if bound is not None or self._has_bound]

    @property
    def counts(self) -> tuple[int, int, int]:
        """Values and samples that were ignored, and values that shared a code."""
        return self.n_ignored_values, self.n_ignored_samples, self.n_shared_values

    @property
    def is_full(self) -> bool:
        """Whether there are as many features as allowed, so that others are ignored."""
        return self.max_features is not None and len(self.features) >= self.max_features

    def refuses(self, y: Hashable) -> bool:
        """Whether a label is new and there are as many classes as allowed."""
        return (
            self.max_classes is not None and len(self.classes) >= self.max_classes and self.target(y) is None
        )

    def n_ignored(self, sample: Sample) -> int:
        """Return how many values of a cleaned sample are ignored, because their feature is beyond the bound."""
        return sum(name not in self._columns for name in sample) if self.is_full else 0

    def known(self, sample: Sample) -> Sample:
        """Return a cleaned sample without new features, and without new values for which there is a free code."""
        return {n: value for n, value in sample.items() if n in self._columns and not self.is_new({n: value})}

    def n_shared(self, sample: Sample) -> int:
        """Return how many values of a cleaned sample share a code, because their feature has no free one."""
        return sum(name in sample and sample[name] not in codes for name, codes in self.full.items())

    def clean(self, x: Mapping[Hashable, Any]) -> Sample:
        """Check one sample against the features seen so far; see `clean`. Changes nothing."""
        return clean(x, self._kinds)

    def order(self, sample: Sample) -> Sample:
        """Return a cleaned sample with its features in the order of appearance, without features never learnt."""
        return in_order(sample, self._columns)

    def target(self, y: Hashable) -> int | None:
        """Return the index of a label in `classes`; `None` if it is new or cannot be a label."""
        try:
            return self._targets.get(y)
        except TypeError:  # not hashable
            return None

    def enter(self, sample: Sample, y: Hashable) -> int:
        """Add what is new in a cleaned sample, its features, values and class; return its target."""
        publication(self, self.entered(sample, y))()
        return self._targets[y]

    def entered(self, sample: Sample, y: Hashable) -> Encoder:
        """Return an encoder that also knows a cleaned sample's features, values and class; this one does not change.

        Raises
        ------
        TypeError
            If the label cannot be compared with those learnt before.
        """
        try:  # Decimal(1) and numpy's 1 have the same hash, and == between them raises
            is_new_label = y not in self._targets
        except TypeError as error:
            raise TypeError(
                f"label {short(y)} of type {type(y).__name__} cannot be compared with those learnt before: {error}; "
                "give labels of one type"
            ) from None
        draft = copy.copy(self)
        new = entering(sample, self._kinds, self.max_features)
        draft._codes, draft._inputs_of = dict(self._codes), self._inputs_of.copy()
        draft._moments = self._moments.copy()
        if new:
            draft._add_features(new)
        for name, codes in draft._codes.items():
            if name in sample and sample[name] not in codes and len(codes) < MAX_CODES:
                draft._codes[name] = codes | {sample[name]: len(codes)}
                draft._add_input(draft._columns[name], input_place(len(codes)))
        draft._note_codes()
        if is_new_label:
            draft._targets = self._targets | {y: len(self.classes)}
            draft.classes = [*self.classes, y]
        return draft

    def _note_codes(self) -> None:
        """Bring up to date what follows from the codes."""
        self._readers = [(name, self._codes.get(name)) for name in self.features]
        self._take = itemgetter(*(self.features or [None]))
        self.full = {name: codes for name, codes in self._codes.items() if len(codes) >= MAX_CODES}

    def _add_features(self, new: Mapping[Hashable, str]) -> None:
        """Add new features of the given kinds to a draft."""
        n_old = len(self.features)
        self.features = [*self.features, *new]
        self._columns = self._columns | {name: n_old + i for i, name in enumerate(new)}
        self._kinds = self._kinds | dict(new)
        self._codes |= {name: {} for name, kind in new.items() if kind == "text" or name in self._nominal}
        self._make_room()
        for name in new:
            if name not in self._codes:
                self._add_input(self._columns[name], 0)

    def known_vector(self, x: Mapping[Hashable, Any]) -> np.ndarray | None:
        """Return the vector of a raw sample if it has every feature and nothing new, else `None`.

        This is the short way for most samples. Any other sample, unusual or wrong, goes through `clean`. The short way
        accepts nothing that `clean` refuses, so it checks types: `array` alone takes whatever has a `__float__`.
        """
        if type(x) is not dict or len(x) != len(self.features):  # others may make up values, as Counter does
            return None
        if not PLAIN.issuperset(map(type, x.values())):
            return None
        try:
            if self._codes or len(x) < 2:
                numbers = [x[name] if codes is None else codes[x[name]] for name, codes in self._readers]
            else:
                numbers = self._take(x)
            if math.hypot(*numbers) <= MAX_ABSOLUTE:  # neither NaN nor too large a number
                return np.frombuffer(array("d", numbers))
        except (KeyError, TypeError, OverflowError):
            pass
        return None

    def vector(self, sample: Sample) -> np.ndarray:
        """Return the vector of a cleaned sample, without features never learnt. Changes nothing.

        Returns
        -------
        vector
            float64, shape (n_features,); NaN where a value is missing. A nominal value never learnt has the next free
            code.
        """
        vector = np.full(len(self.features), np.nan)
        for name, value in sample.items():
            column = self._columns.get(name)
            if column is not None:
                codes = self._codes.get(name)
                vector[column] = float(value) if codes is None else code_of(codes, value, MAX_CODES)
        return vector

    def is_new(self, sample: Sample) -> bool:
        """Whether a cleaned sample has a new feature that enters, or a new value for which there is a free code."""
        is_full = self.is_full
        for name, value in sample.items():
            if not is_full and name not in self._columns:
                return True
            codes = self._codes.get(name)
            if codes is not None and value not in codes and len(codes) < MAX_CODES:
                return True
        return False

    def is_noted(self, sample: Sample) -> bool:
        """Whether to learn a cleaned sample changes the encoder: by something new, or a count of what is left out."""
        return self.is_new(sample) or self.n_ignored(sample) + self.n_shared(sample) > 0

    def vectors(
        self,
        X: np.ndarray,
        names: Sequence[Hashable],
        values: Sequence[Sequence[Any] | None],
        legend: Legend | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the vectors of a block, and which rows have a new feature or a new nominal value.

        Parameters
        ----------
        X
            float64, shape (n_samples, len(names)); NaN where a value is missing.
        names
            Feature of each column.
        values
            For each column the list that its numbers are indices into, or `None` if they stand for themselves.
        legend
            Result of `legend` for these columns, if it is known.

        Returns
        -------
        vectors
            float64, shape (n_samples, n_features), as `vector` would give them.
        is_new
            bool, shape (n_samples,).

        Raises
        ------
        TypeError, ValueError
            If a value cannot be read, as in `clean`.
        """
        if legend is None:
            names = [checked_name(name) for name in names]
            legend = self.legend(names, values)
        vectors = np.full((len(X), len(self.features)), np.nan)
        is_new = np.zeros(len(X), np.bool_)
        wrong = read_block(
            X, legend.columns, legend.starts, legend.sizes, legend.numbers, legend.is_new, vectors, is_new
        )
        if wrong != NONE:
            self._refuse(names[wrong], values[wrong], X[:, wrong])
        for i in legend.unlisted:
            missing = np.isnan(X[:, i])
            shown, which = np.unique(X[~missing, i], return_inverse=True)
            of, column = values[i], int(legend.columns[i])
            self._refuse(names[i], of, shown)
            numbers, new = self._look_up(
                names[i], column, shown if of is None else [of[int(v)] for v in shown]
            )
            if column >= 0:
                vectors[~missing, column] = np.array(numbers)[which]
            is_new[~missing] |= np.array(new, np.bool_)[which]
        return vectors, is_new

    def legend(
        self,
        names: Sequence[Hashable],
        values: Sequence[Sequence[Any] | None],
        before: Legend | None = None,
    ) -> Legend:
        """Return what the numbers of blocks with these columns stand for, until something new is added.

        Parameters
        ----------
        names, values
            As in `vectors`.
        before
            Legend of the same columns from before something new was added. If that was a value, this legend is brought
            up to date, since reading all lists again for each new value would take quadratic time.
        """
        n_codes = [len(self._codes.get(name, ())) for name in names]
        if before is not None and before.n_features == len(self.features):
            for i, of in enumerate(values):
                if of is not None and n_codes[i] != before.n_codes[i] and before.starts[i] >= 0:
                    # the codes of values that share one change too
                    places = slice(before.starts[i], before.starts[i] + before.sizes[i])
                    found = self._look_up(names[i], int(before.columns[i]), of)
                    before.numbers[places], before.is_new[places] = found
            before.n_codes = n_codes
            return before
        n = len(names)
        legend = Legend(np.full(n, NONE), np.full(n, NONE), np.zeros(n, np.int64), [])
        legend.n_features, legend.n_codes = len(self.features), n_codes
        numbers: list[float] = []
        new: list[bool] = []
        for i, (name, of) in enumerate(zip(names, values, strict=True)):
            legend.columns[i] = self._columns.get(name, BEYOND if self.is_full else NONE)
            if of is not None and len(of) <= MAX_LISTED:
                legend.starts[i], legend.sizes[i] = len(numbers), len(of)
                of_numbers, of_new = self._look_up(name, int(legend.columns[i]), of)
                numbers += of_numbers
                new += of_new
            elif of is not None or name in self._codes or name in self._nominal:
                legend.starts[i] = UNLISTED
                legend.unlisted.append(i)
        legend.numbers, legend.is_new = np.array(numbers, np.float64), np.array(new, np.bool_)
        return legend

    def _look_up(self, name: Hashable, column: int, values: Iterable[Any]) -> tuple[list[float], list[bool]]:
        """Return what a vector holds for each value of a feature, NaN for a missing one, and whether it is new."""
        is_text, codes = self._kinds.get(name) == "text", self._codes.get(name)
        has_room = column == NONE or (codes is not None and len(codes) < MAX_CODES)
        numbers, new = [], []
        for value in values:
            if not (is_text and type(value) is str):  # which needs no cleaning
                value = self.clean({name: value}).get(name)
            is_known = value is None or (codes is not None and value in codes)
            number = math.nan
            if value is not None and column >= 0:
                number = float(value) if codes is None else code_of(codes, value, MAX_CODES)
            numbers.append(number)
            new.append(has_room and not is_known)
        return numbers, new

    def inputs(self, vectors: np.ndarray, *, is_learning: bool) -> np.ndarray:
        """Return the router's inputs for some vectors, row by row.

        A number is standardised by the mean and deviation of the values learnt before it, and cut off at ±5. It is 0 if
        it is missing or has not varied yet. A nominal value sets its input to 1. A value never learnt sets none.

        Parameters
        ----------
        vectors
            Shape (n_rows, n_features), as `vector` gives them.
        is_learning
            Whether the numbers of a row are added to the mean and the deviation after the row has been scaled.

        Returns
        -------
        inputs
            float32, shape (n_rows, n_inputs).
        """
        plan = StepPlan()
        inputs = self.plan_inputs(vectors, np.ones(len(vectors)) if is_learning else NO_WEIGHTS, plan)
        carry_out(plan)
        return inputs

    def plan_inputs(self, vectors: np.ndarray, weights: np.ndarray, plan: StepPlan) -> np.ndarray:
        """Compute what `inputs` returns. The changes of the plan add the numbers of each row to mean and deviation.

        `weights` are those of the rows, shape (n_rows,); empty to add nothing.
        """
        inputs = np.empty((len(vectors), self.n_inputs), np.float32)
        moments = self._moments
        if len(weights):
            moments = np.empty_like(self._moments)
            plan.compute(copying(self._moments, moments))
            plan.append(copying(moments, self._moments))
        plan.compute(write_inputs, vectors, self._inputs_of, moments, weights, inputs)
        return inputs

    def _refuse(self, name: Hashable, of: Sequence[Any] | None, numbers: np.ndarray) -> None:
        """Raise the error for the first invalid value, if there is one."""
        if of is not None:
            check_indices(name, of, numbers)
            return
        for value in numbers.tolist():
            self.clean({name: value})

    def _make_room(self) -> None:
        """Widen the arrays for new features."""
        n_old, n_features = len(self._inputs_of), len(self.features)
        inputs_of = np.full((n_features, 2 * OWN_INPUTS if self._codes else 1), NONE)
        inputs_of[:n_old, : self._inputs_of.shape[1]] = self._inputs_of
        moments = np.zeros((3, n_features))
        moments[:, :n_old] = self._moments
        moments[COUNT, self.nominal_columns] = NOMINAL
        self._inputs_of, self._moments = inputs_of, moments

    def _add_input(self, column: int, key: int) -> None:
        if self._inputs_of[column, key] == NONE:
            self._inputs_of[column, key] = self.n_inputs
            self.n_inputs += 1
