"""MOA's classifiers for comparison, run in Java through CapyMOA without a slow wrapper. Needs `driftmoe[capymoa]`.

A `MoaLearner` does not predict single samples. `prequential` passes it the stream. The samples go to Java in blocks
and are compared there with the originals. MOA's own test-then-train loop (`EfficientEvaluationLoops`, which CapyMOA's
`prequential_evaluation` uses) returns one prediction for each. The measured time is that of the loop alone.

As for all models, the first sample, which is predicted before any label is known, is not counted. MOA's evaluators
count the learner's prediction for it, usually class 0. `prequential(..., count_warm_up=True)` gives their figures.

Java starts with the first learner and runs as long as the process. The first run in a process includes Java's just-in-
time compilation. Learners use one thread. Java's compiler and garbage collector use further threads, which count in
the CPU time.
"""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from driftmoe.evaluation import Answers
from driftmoe.extras import install

LEARNERS: dict[str, tuple[str, dict[str, Any]]] = {
    "moa-arf": ("AdaptiveRandomForestClassifier", {"ensemble_size": 10}),
    "moa-srp": ("StreamingRandomPatches", {"ensemble_size": 10}),
    "moa-levbag": ("LeveragingBagging", {"ensemble_size": 10}),
    "moa-ozabag": ("OnlineBagging", {"ensemble_size": 10}),
    "moa-ozaboost": ("OzaBoost", {"boosting_iterations": 10}),
    "moa-smoothboost": ("OnlineSmoothBoost", {"boosting_iterations": 10}),
    "moa-sgbt": ("StreamingGradientBoostedTrees", {}),  # takes small steps: 10 trees would be too few
    "moa-ht": ("HoeffdingTree", {}),
    "moa-hat": ("HoeffdingAdaptiveTree", {}),
    "moa-samknn": ("SAMkNN", {}),
}
"""Name -> CapyMOA's class, and defaults that differ from CapyMOA's: ensembles have 10 members, like river's."""

MISSING = (
    "{name} needs CapyMOA and Java 17 or newer ({reason}); {install}, and Java from "
    "your system's packages or with JAVA_HOME set"
)


class MoaLearner:
    """One of CapyMOA's classifiers, with its own evaluation loop.

    Parameters
    ----------
    name
        One of `LEARNERS`.
    seed
        CapyMOA's `random_seed`; `None` for its default.
    **arguments
        Arguments of CapyMOA's class, such as `ensemble_size=100`.

    Raises
    ------
    ValueError
        If CapyMOA or Java is missing.
    """

    def __init__(self, name: str, *, seed: int | None = None, **arguments: Any) -> None:
        self.name = name
        self.arguments = {p.name: p.default for p in parameters(name).values()} | arguments
        self.arguments["seed"] = self.arguments["seed"] if seed is None else seed
        self._bytes_before = 0
        self._learner: Any = None

    @property
    def versions(self) -> dict[str, str]:
        """Versions of CapyMOA and Java, which can affect results."""
        from java.lang import System

        return {"capymoa": _capymoa(self.name).__version__, "java": str(System.getProperty("java.version"))}

    @property
    def _raw_memory_usage(self) -> int:
        """Bytes in use in Java, less those before the learner was created. The name is the one river uses."""
        return max(live_bytes() - self._bytes_before, 0)

    def _get_params(self) -> dict[str, Any]:
        return {"class": LEARNERS[self.name][0], **self.arguments}

    def test_then_train(self, stream: Any, size: int) -> Iterator[Answers]:
        """Test, then train, on all samples of a stream; yield the answers of `size` samples at a time.

        Parameters
        ----------
        stream
            A stream of `streams`. It is read twice, because the learner must know all classes and values beforehand.
        size
            Samples between two yields.

        Raises
        ------
        RuntimeError
            If the learner fails in Java, or Java received different samples.
        """
        for _ in stream.blocks(size):
            pass
        classes = list(stream.classes)
        nominal = [None if f.values is None else len(f.values) for f in stream.features]
        capymoa = _capymoa(self.name)
        from capymoa import classifier
        from capymoa.stream import Schema
        from jpype import JException
        from moa.evaluation import EfficientEvaluationLoops
        from moa.streams import CachedInstancesStream

        header = java_header(nominal, len(classes))
        arguments = {("random_seed" if k == "seed" else k): value for k, value in self.arguments.items()}
        self._bytes_before = live_bytes()
        try:
            self._learner = getattr(classifier, LEARNERS[self.name][0])(Schema(header), **arguments)
            for X, y in stream.blocks(size):
                instances = java_instances(header, X, y)
                check_same(instances, X, y)
                samples = CachedInstancesStream(instances)
                cpu_start, start = time.process_time(), time.perf_counter()
                result = EfficientEvaluationLoops.PrequentialEvaluation(
                    samples, self._learner.moa_learner, None, None, len(y), len(y), False, True
                )
                seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
                y_pred = [classes[int(index)] for index in result.predictions]
                del instances, samples, result  # the caller may measure the learner's memory now
                yield Answers([classes[index] for index in y.tolist()], y_pred, seconds, cpu_seconds)
        except JException as error:
            raise RuntimeError(
                f"{self.name} failed in Java, CapyMOA {capymoa.__version__}: {error}"
            ) from error


class Maker:
    """Factory that `models.make` calls for a name in `LEARNERS`. It imports CapyMOA when its signature is read.

    Parameters
    ----------
    name
        One of `LEARNERS`.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.Signature(list(parameters(self._name).values()))

    def __call__(self, **arguments: Any) -> MoaLearner:
        """Return the learner."""
        return MoaLearner(self._name, **arguments)


@functools.cache
def parameters(name: str) -> dict[str, inspect.Parameter]:
    """Return a learner's parameters with our defaults. CapyMOA's `random_seed` is called `seed`, as elsewhere here."""
    _capymoa(name)
    from capymoa import classifier

    class_name, defaults = LEARNERS[name]
    found = {}
    for parameter in inspect.signature(getattr(classifier, class_name)).parameters.values():
        if parameter.name in ("schema", "CLI"):
            continue
        ours = "seed" if parameter.name == "random_seed" else parameter.name
        default = defaults.get(parameter.name, parameter.default)
        found[ours] = parameter.replace(name=ours, default=default, kind=inspect.Parameter.KEYWORD_ONLY)
    return found


def java_header(nominal: Sequence[int | None], n_classes: int) -> Any:
    """Return MOA's description (header) of a stream.

    Parameters
    ----------
    nominal
        For each feature its number of values, or `None` if it is numeric.
    n_classes
        Number of classes.
    """
    from com.yahoo.labs.samoa.instances import Attribute, Instances, InstancesHeader
    from java.util import ArrayList

    def codes(n: int) -> Any:
        return ArrayList([str(code) for code in range(n)])

    attributes = ArrayList()
    for column, n_values in enumerate(nominal):
        attributes.add(Attribute(f"x{column}", *(() if n_values is None else (codes(n_values),))))
    attributes.add(Attribute("class", codes(n_classes)))
    instances = Instances("samples", attributes, 0)
    instances.setClassIndex(len(nominal))
    return InstancesHeader(instances)


def java_instances(header: Any, X: np.ndarray, y: np.ndarray) -> Any:
    """Return samples as MOA's `Instances`. NaN means a missing value there, too."""
    from com.yahoo.labs.samoa.instances import DenseInstance, Instances
    from jpype import JArray, JDouble

    instances = Instances(header, len(y))
    for row in np.column_stack([X, y]):
        instance = DenseInstance(1.0, JArray(JDouble)(row))
        instance.setDataset(header)
        instances.add(instance)
    return instances


def check_same(instances: Any, X: np.ndarray, y: np.ndarray) -> None:
    """Raise RuntimeError unless Java received exactly these samples."""
    for i, row in enumerate(np.column_stack([X, y])):
        if not np.array_equal(instances.instance(i).toDoubleArray(), row, equal_nan=True):
            raise RuntimeError(f"sample {i} is not the same in Java: {instances.instance(i)} for {row}")


def live_bytes() -> int:
    """Return the bytes in use in Java's memory after a garbage collection."""
    from java.lang import Runtime, System

    System.gc()
    return int(Runtime.getRuntime().totalMemory() - Runtime.getRuntime().freeMemory())


def _capymoa(name: str) -> Any:
    """Return the module `capymoa`. Its import starts Java."""
    try:
        import capymoa
    except (ImportError, RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(MISSING.format(name=name, reason=reason, install=install("capymoa"))) from None
    return capymoa
