"""Own exp, log and their kin: against decimal arithmetic, which is exact to the digit, and against the C library's."""

from __future__ import annotations

import hashlib
import math
from decimal import Decimal, localcontext

import numba
import numpy as np
import pytest

from driftmoe import arithmetic

inf, nan = math.inf, math.nan

# Not compiled, numpy warns of infinities and of integers that wrap around.
pytestmark = pytest.mark.filterwarnings("ignore:.* encountered in scalar:RuntimeWarning")
needs_compiled = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="there is no compiled code to look at")


def exact_erf(x):
    """2 / sqrt(pi) * exp(-x^2) * (x + 2/3 x^3 + 4/15 x^5 + ...): all terms of one sign."""
    pi = Decimal("3.14159265358979323846264338327950288419716939937511")
    term, total, n = x, Decimal(0), 0
    while abs(term) > abs(total) * Decimal("1e-40"):
        total += term
        n += 1
        term *= 2 * x * x / (2 * n + 1)
    return 2 / pi.sqrt() * (-x * x).exp() * total


EXACT = {
    "exp": lambda x: x.exp(),
    "expm1": lambda x: x.exp() - 1,
    "log": lambda x: x.ln(),
    "log1p": lambda x: (1 + x).ln(),
    "log2": lambda x: x.ln() / Decimal(2).ln(),
    "erf": exact_erf,
}
BOUND = {"exp": 0.8, "expm1": 1.0, "log": 0.8, "log1p": 0.8, "log2": 0.8, "erf": 0.8}
ROOM = {
    "exp": [(-745.0, 709.7), (-1.0, 1.0), (-745.0, -708.0)],
    "expm1": [(-50.0, 709.7), (-1.0, 1.0), (-1e-3, 1e-3)],
    "log": [(0.0, 10.0), (0.6, 1.5), (0.999, 1.001)],
    "log1p": [(-1.0, 10.0), (-0.5, 0.5), (-1e-3, 1e-3)],
    "log2": [(0.0, 10.0), (0.6, 1.5), (0.999, 1.001)],
    "erf": [(-6.0, 6.0), (-0.2, 0.2), (-1e-3, 1e-3)],
}


def points(name, n, seed=0):
    """Numbers from each range, and positive ones of every size down to the least."""
    rng = np.random.default_rng(seed)
    drawn = [low + (high - low) * rng.random(n) for low, high in ROOM[name]]  # `uniform` may be fused
    if name in ("log", "log2", "log1p"):
        drawn.append(rng.integers(1, 0x7FEFFFFFFFFFFFFF, n).view(np.float64))
    else:
        drawn.append(rng.integers(1, 0x3FF0000000000000, n).view(np.float64))
    return np.concatenate(drawn)


@pytest.mark.parametrize("name", EXACT)
def test_off_by_less_than_a_unit_in_the_last_place(name):
    function, bound = getattr(arithmetic, name), Decimal(BOUND[name])
    for x in points(name, 1_000).tolist():
        with localcontext(prec=50 if abs(x) > 1e-30 else 400):  # lest 1 + x be 1
            expected = EXACT[name](Decimal(x))
        result = function(x)
        assert abs(Decimal(result) - expected) <= bound * Decimal(math.ulp(result)), (x, result, expected)


@pytest.mark.parametrize("name", EXACT)
def test_a_million_points_lie_beside_those_of_the_c_library(name):
    x = points(name, 2_500 if numba.config.DISABLE_JIT else 250_000, seed=1)
    expected = np.array([getattr(math, name)(value) for value in x.tolist()])
    results = np.array([getattr(arithmetic, name)(value) for value in x.tolist()])
    assert np.all(np.abs(results - expected) <= 2.0 * np.spacing(np.abs(expected)))


@pytest.mark.parametrize(
    ("name", "x", "expected"),
    [
        ("exp", 0.0, 1.0), ("exp", -0.0, 1.0), ("exp", inf, inf), ("exp", -inf, 0.0), ("exp", nan, nan),
        ("exp", 709.782712893384, 1.7976931348622732e308), ("exp", 709.7827128933841, inf),
        ("exp", -745.1332191019411, 5e-324), ("exp", -745.1332191019412, 0.0), ("exp", 1e308, inf),
        ("exp", -1e308, 0.0),
        ("expm1", 0.0, 0.0), ("expm1", -0.0, -0.0), ("expm1", inf, inf), ("expm1", -inf, -1.0), ("expm1", nan, nan),
        ("expm1", 5e-324, 5e-324), ("expm1", -1e308, -1.0), ("expm1", 709.7827128933841, inf),
        ("log", 0.0, -inf), ("log", -0.0, -inf), ("log", 1.0, 0.0), ("log", inf, inf), ("log", -inf, nan),
        ("log", -5e-324, nan), ("log", nan, nan), ("log", 5e-324, -744.4400719213812),
        ("log1p", 0.0, 0.0), ("log1p", -0.0, -0.0), ("log1p", -1.0, -inf), ("log1p", -1.1, nan), ("log1p", inf, inf),
        ("log1p", -inf, nan), ("log1p", nan, nan), ("log1p", 5e-324, 5e-324),
        ("log2", 0.0, -inf), ("log2", inf, inf), ("log2", -1.0, nan), ("log2", nan, nan),
        ("erf", 0.0, 0.0), ("erf", -0.0, -0.0), ("erf", inf, 1.0), ("erf", -inf, -1.0), ("erf", nan, nan),
        ("erf", 6.0, 1.0), ("erf", -6.0, -1.0), ("erf", 1e308, 1.0), ("erf", 5e-324, 5e-324),
    ],
)  # fmt: skip
def test_values_at_the_limits(name, x, expected):
    result = getattr(arithmetic, name)(x)
    assert result == expected or (math.isnan(result) and math.isnan(expected))
    assert math.isnan(expected) or math.copysign(1.0, result) == math.copysign(1.0, expected)


def test_logarithms_to_base_2_of_powers_of_2_are_exact():
    for n in range(-1074, 1024):
        assert arithmetic.log2(math.ldexp(1.0, n)) == n


@pytest.mark.parametrize(
    ("base", "n"), [(0.5, 0), (0.9, 1), (0.999, 7), (1.5, 100), (0.9, 10**6), (2.0, 1023)]
)
def test_whole_powers_are_products(base, n):
    with localcontext(prec=50, Emin=-(10**9)):
        expected = float(Decimal(base) ** n)
    assert arithmetic.whole_power(base, n) == pytest.approx(expected, rel=(n + 1) * 1.2e-16)


@needs_compiled
@pytest.mark.parametrize("name", [*EXACT, "power_of_two", "whole_power"])
def test_compiled_equals_python_bit_for_bit(name):
    function = getattr(arithmetic, name)
    drawn = {
        "power_of_two": [(n,) for n in range(-1022, 1024)],
        "whole_power": [(0.9, n) for n in range(200)],
    }
    odd = [0.0, -0.0, inf, -inf, nan, 5e-324, 710.0]
    calls = drawn.get(name) or [(x,) for x in [*points(name, 500, seed=2).tolist(), *odd]]
    expected = np.array([function.py_func(*call) for call in calls])
    results = np.array([function(*call) for call in calls])
    np.testing.assert_array_equal(results, expected)


@pytest.mark.parametrize("name", ["exp", "expm1", "log", "log1p"])
def test_arrays_of_any_shape_equal_their_numbers_bit_for_bit(name):
    x = points(name, 500, seed=3)
    expected = [getattr(arithmetic, name)(value) for value in x.tolist()]
    of_array = getattr(arithmetic, f"{name}_of")
    np.testing.assert_array_equal(of_array(x), expected)
    np.testing.assert_array_equal(of_array(x[::-3]), expected[::-3])
    np.testing.assert_array_equal(of_array(x.reshape(4, 5, -1).T), np.reshape(expected, (4, 5, -1)).T)
    np.testing.assert_array_equal(of_array(x[1:4].tolist()), expected[1:4])
    assert of_array(np.empty((0, 3))).shape == (0, 3)
    assert of_array(np.float32(0.5)) == getattr(arithmetic, name)(0.5)


@needs_compiled
@pytest.mark.parametrize("name", ["write_exp", "write_expm1", "write_log", "write_log1p"])
def test_code_has_neither_fused_products_nor_calls_of_a_library(name):
    kernel = getattr(arithmetic, name)
    kernel(np.ones(3), np.empty(3))
    if kernel.stats.cache_hits:  # what comes from the disk shows no code
        kernel.recompile()
    for code in kernel.inspect_llvm().values():
        for banned in (
            "fmuladd",
            "llvm.fma",
            "fast",
            " contract ",
            " reassoc ",
            "llvm.exp",
            "llvm.log",
            "llvm.pow",
        ):
            assert banned not in code.split("attributes #0")[0].replace("fastcc", ""), banned
    for code in kernel.inspect_asm().values():
        assert not any(fused in code for fused in ("vfm", "vfnm", "fmadd", "fmsub"))


@needs_compiled
def test_results_are_those_of_other_machines():
    """The digest was taken on x86-64 with AVX-512; the code for haswell and for nehalem has the same."""
    digest = hashlib.sha256()
    for name in ("exp", "expm1", "log", "log1p"):
        digest.update(getattr(arithmetic, f"{name}_of")(points(name, 250_000, seed=4)).tobytes())
    for name in ("log2", "erf"):
        digest.update(
            np.array([getattr(arithmetic, name)(x) for x in points(name, 50_000, seed=4)]).tobytes()
        )
    assert digest.hexdigest() == "8461cd361ebabfa6897804ba57d2c0c76f7a1441402733888d8168800ee4aa18"
