"""MOA's classifiers for comparison, run in Java through CapyMOA without a slow wrapper. Needs `driftmoe[capymoa]`.

Some are classes of CapyMOA, with its arguments. All others are known by the names of their classes in Java, with MOA's
options as arguments: `moa:trees.HoeffdingTree`, and those among `LEARNERS` whose class has a dot in its name.

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
from driftmoe.moa_options import creation_text, java_parameters, new_learner

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
    "moa-dems": ("DynamicEnsembleMemberSelection", {"ensemble_size": 10}),
    "moa-bole": ("meta.BOLE", {}),
    "moa-adacc": ("meta.ADACC", {}),
    "moa-rwknn": ("WeightedkNN", {}),
    "moa-plastic": ("PLASTIC", {}),
    "moa-last": ("LAST", {}),
    "moa-efdt": ("EFDT", {}),
    "moa-rusboost": ("meta.imbalanced.OnlineRUSBoost", {"baseLearner": "trees.HoeffdingTree"}),
    "moa-adac2": ("meta.imbalanced.OnlineAdaC2", {"baseLearner": "trees.HoeffdingTree"}),
    "moa-underover": ("meta.imbalanced.OnlineUnderOverBagging", {"baseLearner": "trees.HoeffdingTree"}),
    "moa-csmote": ("CSMOTE", {}),
}
"""Name -> class, and defaults that differ from its own: ensembles have 10 members, like river's, and none of them is a
forest of 100 trees, as three of MOA's learners for rare classes have it.

A class with a dot in its name is one of Java's, the others are CapyMOA's."""

JAVA = "moa:"
"""What begins the name of any other classifier of MOA, before that of its class in Java."""

MISSING = (
    "{name} needs CapyMOA and Java 17 or newer ({reason}); {install}, and Java from "
    "your system's packages or with JAVA_HOME set"
)


class MoaLearner:
    """One of MOA's classifiers, with its own evaluation loop.

    Parameters
    ----------
    name
        One of `LEARNERS`, or `moa:` and the name of a class in Java, such as `moa:trees.HoeffdingTree`.
    seed
        CapyMOA's `random_seed`; `None` for its default. A learner that draws no random numbers takes none.
    **arguments
        Arguments of CapyMOA's class, such as `ensemble_size=100`, or options of the class in Java, such as
        `gracePeriod=50`. An option that holds a classifier takes a `MoaLearner` of Java's, too.

    Raises
    ------
    ValueError
        If CapyMOA or Java is missing, MOA has no such class, or an option in Java is refused.
    """

    def __init__(self, name: str, *, seed: int | None = None, **arguments: Any) -> None:
        self.name = name
        self.arguments = {p.name: p.default for p in parameters(name).values()} | arguments
        if seed is not None:
            self.arguments["seed"] = seed
        if _is_java(name):
            for option, value in self.arguments.items():
                if isinstance(value, MoaLearner):
                    self.arguments[option] = value.text
            new_learner(_class_name(name), self.arguments)  # refuses wrong values now
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

    @property
    def text(self) -> str:
        """MOA's own text for a learner that is known by its class in Java, for an option of another learner."""
        if not _is_java(self.name):
            raise ValueError(
                f"{self.name} has CapyMOA's arguments and cannot be within another learner; give its class in Java, "
                f"as {JAVA}trees.HoeffdingTree"
            )
        return creation_text(_class_name(self.name), self.arguments)

    def _get_params(self) -> dict[str, Any]:
        return {"class": _class_name(self.name), **self.arguments}

    def _new(self, header: Any) -> Any:
        """Return a new learner in Java for samples of a header."""
        if _is_java(self.name):
            return new_learner(_class_name(self.name), self.arguments, header)
        from capymoa import classifier
        from capymoa.stream import Schema

        arguments = {("random_seed" if k == "seed" else k): value for k, value in self.arguments.items()}
        return getattr(classifier, _class_name(self.name))(Schema(header), **arguments).moa_learner

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
        from jpype import JException
        from moa.evaluation import EfficientEvaluationLoops
        from moa.streams import CachedInstancesStream

        header = java_header(nominal, len(classes))
        self._bytes_before = live_bytes()
        try:
            self._learner = self._new(header)
            for X, y in stream.blocks(size):
                instances = java_instances(header, X, y)
                check_same(instances, X, y)
                samples = CachedInstancesStream(instances)
                cpu_start, start = time.process_time(), time.perf_counter()
                result = EfficientEvaluationLoops.PrequentialEvaluation(
                    samples, self._learner, None, None, len(y), len(y), False, True
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
    """Factory that `models.make` calls for a name of `MoaLearner`. It imports CapyMOA when its signature is read.

    Parameters
    ----------
    name
        As in `MoaLearner`.
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
    """Return a learner's parameters with our defaults. CapyMOA's `random_seed` is called `seed`, as elsewhere here.

    Raises
    ------
    ValueError
        If CapyMOA or Java is missing, or MOA has no such class.
    """
    _capymoa(name)
    from capymoa import classifier

    class_name, defaults = _class_name(name), LEARNERS.get(name, ("", {}))[1]
    if _is_java(name):
        return {
            option: parameter.replace(default=defaults.get(option, parameter.default))
            for option, parameter in java_parameters(class_name).items()
        }
    found = {}
    for parameter in inspect.signature(getattr(classifier, class_name)).parameters.values():
        if parameter.name in ("schema", "CLI"):
            continue
        ours = "seed" if parameter.name == "random_seed" else parameter.name
        default = defaults.get(parameter.name, parameter.default)
        found[ours] = parameter.replace(name=ours, default=default, kind=inspect.Parameter.KEYWORD_ONLY)
    return found


def _class_name(name: str) -> str:
    return LEARNERS[name][0] if name in LEARNERS else name.removeprefix(JAVA)


def _is_java(name: str) -> bool:
    """Return whether a learner is known by its class in Java, and not as a class of CapyMOA."""
    return name not in LEARNERS or "." in LEARNERS[name][0]


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
