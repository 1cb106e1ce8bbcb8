"""The random numbers are Java's: compared with numbers that Java 17 made, and with a readable twin."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from places import VECTORS
from reference.java_random import JavaRandom

import streams
from streams import java_random

JAVA = np.load(VECTORS / "java_random.npz")
SEEDS = JAVA["seeds"].tolist()
BOUNDS = JAVA["bounds"].tolist()
KINDS = ["next_int", "next_double", "next_float", "next_boolean", "next_gaussian"]


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_are_javas(kind):
    for seed, expected in zip(SEEDS, JAVA[kind], strict=True):
        state = java_random.seeded(seed)
        numbers = [getattr(java_random, kind)(state) for _ in expected]
        np.testing.assert_array_equal(numbers, expected)


@pytest.mark.parametrize("bound", BOUNDS)
def test_bounded_integers_are_javas(bound):
    for seed, expected in zip(SEEDS, JAVA["next_int_below"][BOUNDS.index(bound)], strict=True):
        state = java_random.seeded(seed)
        numbers = [java_random.next_int_below(state, bound) for _ in expected]
        np.testing.assert_array_equal(numbers, expected)


def test_logarithm_rounds_as_javas():
    logarithms = [java_random.strict_log(x) for x in JAVA["log_x"]]
    np.testing.assert_array_equal(logarithms, JAVA["log"])


def test_logarithm_is_a_logarithm():
    x = np.exp(np.linspace(-700, 700, 2001))
    np.testing.assert_allclose([java_random.strict_log(v) for v in x], np.log(x), rtol=3e-16)


@given(
    seed=st.integers(-(2**63), 2**63 - 1),
    draws=st.lists(st.sampled_from([*KINDS, "next_int_below"]), max_size=20),
    bound=st.integers(1, 2**31 - 1),
)
def test_any_mixture_of_draws_equals_the_twin(seed, draws, bound):
    state, twin = java_random.seeded(seed), JavaRandom(seed)
    for kind in draws:
        arguments = (bound,) if kind == "next_int_below" else ()
        number = getattr(java_random, kind)(state, *arguments)
        expected = getattr(twin, kind)(*arguments)
        if kind == "next_gaussian":
            assert number == pytest.approx(expected, rel=1e-12)
        else:
            assert number == expected
    assert state[java_random.SEED] == twin.seed


def test_compiled_equals_interpreted(monkeypatch):
    names = [*KINDS, "next_bits", "next_int_below", "strict_log"]
    draws = [(kind, ()) for kind in KINDS * 5] + [("next_int_below", (bound,)) for bound in BOUNDS]

    def numbers():
        state = java_random.seeded(5)
        return [getattr(java_random, kind)(state, *arguments) for kind, arguments in draws]

    compiled = numbers()
    for name in names:
        function = getattr(java_random, name)
        monkeypatch.setattr(java_random, name, getattr(function, "py_func", function))
    assert numbers() == compiled


def test_kernels_run_where_no_folder_can_be_written(tmp_path):
    package = Path(streams.__file__).parent
    shutil.copytree(package, tmp_path / "streams", ignore=shutil.ignore_patterns("__pycache__"))
    # A file where a folder would have to be made stops the superuser too.
    (tmp_path / "streams" / "__pycache__").write_text("")
    (tmp_path / "home").write_text("")
    unset = ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "PYTHONPATH")
    env = {name: value for name, value in os.environ.items() if name not in unset}
    program = "import streams; print(streams.__file__, streams.make('sea', 7, 3).reader()(3).y)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=env | {"HOME": str(tmp_path / "home" / "user"), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path))
    assert done.stdout.endswith(f"{streams.make('sea', 7, 3).reader()(3).y}\n")
