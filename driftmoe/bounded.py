"""A bound on the memory of a trained model."""

from __future__ import annotations

from driftmoe.estimator import MixtureClassifier
from driftmoe.mixture.arguments import integer
from driftmoe.mixture.shrinking import check_boundable, shrunk
from driftmoe.state import restored
from driftmoe.transaction import assignment, carry_out, learning, publication


class BoundedClassifier(MixtureClassifier):
    """A mixture whose experts can give up memory."""

    @learning
    def shrink(self, max_bytes: int) -> None:
        """Reduce the memory of the model to at most `max_bytes`, and keep it there as long as no new names come.

        Names are those of features, values and classes, in samples and in the lists that come with blocks, which the
        model remembers.

        Trees give up the splits with the least loss, neighbours their oldest episodes, which are the thinnest. The
        experts that can give up something share what the others leave; none of them is dropped. To keep the bound when
        features, values or classes come, give the argument `max_bytes` to the constructor. What is kept of samples that
        wait for their labels (`arrive_one`) is forgotten.

        Parameters
        ----------
        max_bytes
            Bound on the bytes that river's memory meter shows.

        Raises
        ------
        TypeError
            If `max_bytes` is not an integer.
        ValueError
            If the least that such a model takes is more, which the message says, or if there are river classifiers
            among the experts. The model is unchanged.
        """
        integer(1)("max_bytes", max_bytes)
        check_boundable(self._mixture.groups, max_bytes)
        kept = {name: value for name, value in self._mixture.state().items() if name != "arrivals"}
        mixture = shrunk(self._encoder, restored(self._mixture, kept), self._recent, max_bytes)
        doubted = self._plans.doubted
        carry_out([doubted, publication(self._mixture, mixture), assignment(self, _columns=None), doubted])
        self._plans.settle()
