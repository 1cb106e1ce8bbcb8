"""A model made of parts that give and take their state: by it the model is restored and pickled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from driftmoe.memory import n_bytes
from driftmoe.state import State, check_names, restored
from driftmoe.transaction import OneAtATime, learning


class OfParts(OneAtATime):
    """A model of parts. A subclass names them in `PARTS`, and its `_new_parts` builds them from its arguments.

    The part called `name` is the attribute `_name`. Only the state of the parts is pickled, and the other attributes.
    """

    PARTS: ClassVar[tuple[str, ...]]

    def __init__(self) -> None:
        super().__init__()
        self._adopt(self._new_parts())

    def _new_parts(self) -> Sequence[Any]:
        """Return parts that have learnt nothing, in the order of `PARTS`."""
        raise NotImplementedError

    @property
    def _raw_memory_usage(self) -> int:
        """Bytes of the whole model: Python objects, arrays and tensors, each once. river's memory meter reads it."""
        return n_bytes(self)

    def state(self) -> State:
        """Return all that the model has learnt, as named arrays and numbers; see `driftmoe.state`.

        Labels and nominal values are Python's own, and so are river classifiers among the experts.

        Examples
        --------
        >>> from driftmoe import DriftMoEClassifier
        >>> model, other = (DriftMoEClassifier(seed=seed) for seed in (1, 2))
        >>> for i in range(100):
        ...     model.learn_one({"x": i % 7}, i % 7 > 3)
        >>> other.restore(model.state())
        >>> other.predict_proba_one({"x": 5}) == model.predict_proba_one({"x": 5})
        True
        """
        with self._lock:
            return {name: getattr(self, f"_{name}").state() for name in self.PARTS}

    @learning
    def restore(self, state: State) -> None:
        """Bring a model that was built with the same arguments to a state that `state` returned.

        From then on both models predict and learn alike, bit for bit.

        Raises
        ------
        TypeError, ValueError
            If the state is not that of such a model. The model is left unchanged.
        """
        check_names(state, self.PARTS, self)
        self._adopt([restored(getattr(self, f"_{name}"), state[name]) for name in self.PARTS])

    def _adopt(self, parts: Sequence[Any]) -> None:
        """Take over parts, all at once."""
        vars(self).update({f"_{name}": part for name, part in zip(self.PARTS, parts, strict=True)})

    def _packed(self) -> dict[str, Any]:
        parts = {f"_{name}" for name in self.PARTS}
        others = {name: value for name, value in self._state().items() if name not in parts}
        return others | {"state": self.state()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__({name: value for name, value in state.items() if name != "state"})
        if "state" in state:  # a copy brings its parts along instead
            self._adopt(self._new_parts())
            self.restore(state["state"])
