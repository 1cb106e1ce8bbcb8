"""Machine code on disk is never stale: not after a change of a source, a library, a processor or an option."""

from __future__ import annotations

import shutil
import signal
import sys

import numpy as np
import pytest
from numba import njit
from places import ROOT
from small_package import CALL, NEEDS_COMPILER, again, kept, run, write

from driftmoe.compilation import part

pytestmark = NEEDS_COMPILER


def test_the_next_process_compiles_nothing(small):
    assert run(small) == "21.0 0"
    assert run(small) == "21.0 1"
    assert len(kept(small.parent.parent)) == len(kept(small / "__pycache__")) == 1


def test_code_on_disk_is_loaded_without_what_only_compiling_needs(small):
    """numba's functions of arrays take 0.3 s to import. A kernel that allocates needs its runtime alone."""
    outer = (small / "outer.py").read_text()
    allocating = "made = np.empty(1)\n    made[0] = scaled(values[i]) + 1\n    return made[0]"
    write(
        small / "outer.py", "import numpy as np\n" + outer.replace("return scaled(values[i]) + 1", allocating)
    )
    program = f"import sys\n{CALL}print('numba.np.arraymath' in sys.modules)"
    assert run(small, program).splitlines() == ["21.0 0", "True"]
    assert run(small, program).splitlines() == ["21.0 1", "False"]


LINKS = (
    CALL
    + """
(of_outer,) = outer.overloads.values()
print(of_outer.library._shared_module)
from numba import njit
@njit
def further(values, i):
    return outer(values, i) + 1
print(further(np.arange(3.0), 2))
print(outer(np.arange(3.0), 1), isinstance(of_outer.library._shared_module, type(None)))
"""
)


def test_what_other_kernels_link_is_read_when_one_of_them_is_compiled(small):
    """To read it takes longer than to load the machine code, and most processes compile nothing."""
    run(small)
    assert run(small, LINKS).splitlines() == ["21.0 1", "None", "22.0", "11.0 False"]


INTERRUPTED = """
import signal
import numpy as np
from numba import njit
from numba.core.codegen import JITCodeLibrary
from small.outer import outer
from small.other import other

@njit
def own(x):
    return x + 1

@njit
def of_user(x):
    return own(x) * 2

def handler(*_):
    if not told:
        told.extend(["told"])
        told.extend([of_user(3), other(np.arange(3.0), 2)])

told, whole = [], JITCodeLibrary._set_compiled_object
signal.signal(signal.SIGUSR1, handler)

def interrupted(library, code):
    signal.raise_signal(signal.SIGUSR1)
    return whole(library, code)

JITCodeLibrary._set_compiled_object = interrupted
print(outer(np.arange(3.0), 2), told, own(1))
print(sum(outer.stats.cache_hits.values()), sum(other.stats.cache_hits.values()))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="needs a signal of the user's own")
def test_a_signal_handler_may_compile_and_load_while_a_kernel_is_loaded(small):
    write(small / "other.py", (small / "outer.py").read_text().replace("outer", "other"))
    run(small, CALL + "from small.other import other\nprint(other(np.arange(3.0), 2))")
    assert run(small, INTERRUPTED).splitlines() == ["21.0 ['told', 8, 21.0] 2", "1 1"]


@pytest.mark.parametrize(
    ("file", "old", "new", "expected"),
    [
        ("constants.py", "10", "20", "41.0"),  # of as many bytes
        ("helper.py", "FACTOR * x", "FACTOR - x", "9.0"),
        ("outer.py", "+ 1", "+ 2", "22.0"),
    ],
)
def test_a_changed_source_runs_at_once(small, file, old, new, expected):
    run(small)
    source = (small / file).read_text()
    write(small / file, source.replace(old, new))
    assert run(small) == f"{expected} 0"
    write(small / file, source)
    assert run(small) == "21.0 1"


def test_a_source_that_no_kernel_imports_does_not_count(small):
    run(small)
    write(small / "unrelated.py", "FACTOR = 3\n")
    assert run(small) == "21.0 1"


TREES = """\
from driftmoe.compilation import compiled
from driftmoe.trees import adwin

@compiled()
def first_cut(window):
    for i in range(1000):
        if adwin.update(window, 0.002, 1.0 * (i >= 200)):
            return i
    return -1
"""


JAVA = """\
import numpy as np
from streams import java_random

@java_random.kernel
def first(seed):
    return java_random.next_bits(np.array([seed, 0, 0]), 32)
"""


def copied(tmp_path, package, *files):
    for file in files:
        target = tmp_path / "site" / package / file
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / package / file).exists():
            shutil.copy(ROOT / package / file, target)
        (target.parent / "__init__.py").write_text("")
    return tmp_path / "site" / package


def test_after_an_upgrade_the_trees_run_the_new_adwin(tmp_path):
    package = copied(
        tmp_path, "driftmoe", "arithmetic.py", "compilation.py", "kernel_cache.py", "trees/adwin.py"
    )
    write(package / "trees" / "steps.py", TREES)
    program = (
        "import numpy as np; from driftmoe.trees import adwin, steps;"
        "window = lambda: np.zeros(1, adwin.WINDOW)[0];"
        "print(steps.first_cut(window()), steps.first_cut.py_func(window()))"
    )
    adwin = package / "trees" / "adwin.py"
    source = adwin.read_text()
    seen = set()
    for clock in (32, 50, 7):
        write(adwin, source.replace("CLOCK = 32", f"CLOCK = {clock}"))
        compiled, interpreted = run(package, program).split()
        assert compiled == interpreted
        assert (int(compiled) + 1) % clock == 0
        seen.add(compiled)
    assert len(seen) == 3


def test_after_an_upgrade_streams_draw_the_new_numbers(tmp_path):
    package = copied(tmp_path, "streams", "java_random.py", "kernel_cache.py", "synthetic/generator.py")
    write(package / "synthetic" / "bits.py", JAVA)
    program = "from streams.synthetic.bits import first; print(first(1))"
    java = package / "java_random.py"
    source = java.read_text()
    assert int(run(package, program)) == (0x5DEECE66D + 0xB) >> 16
    write(java, source.replace("MULTIPLIER = 0x5DEECE66D", "MULTIPLIER = 0x123456789"))
    assert int(run(package, program)) == (0x123456789 + 0xB) >> 16


@pytest.mark.parametrize("library", ["numba", "llvmlite", "np"])
def test_another_version_of_a_library_compiles_anew(loaded, library, monkeypatch):
    assert again(loaded) == (21.0, 1)
    cache = sys.modules["small.kernel_cache"]
    cache._versions.cache_clear()
    monkeypatch.setattr(getattr(cache, library), "__version__", "0.1")
    assert again(loaded) == (21.0, 0)
    assert again(loaded) == (21.0, 1)


def test_another_version_of_ours_compiles_anew(loaded, monkeypatch):
    cache = sys.modules["small.kernel_cache"]
    cache._versions.cache_clear()
    monkeypatch.setattr(cache, "version", lambda name: "99")
    assert again(loaded) == (21.0, 0)
    assert again(loaded) == (21.0, 1)


SETTINGS = (
    {"NUMBA_CPU_NAME": "nehalem", "NUMBA_CPU_FEATURES": "+sse4.2,+popcnt"},
    {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma"},
    {"NUMBA_CPU_FEATURES": ""},
    {"NUMBA_BOUNDSCHECK": "1"},
    {"NUMBA_OPT": "1"},
    {"NUMBA_LOOP_VECTORIZE": "0"},
    {"NUMBA_DEBUGINFO": "1"},
)


def test_each_processor_and_option_has_code_of_its_own(small):
    run(small)
    for variables in SETTINGS:
        assert run(small, **variables) == "21.0 0", variables
    for variables in SETTINGS:
        assert run(small, **variables) == "21.0 1", variables
    assert run(small) == "21.0 1"


def test_bounds_are_checked_beside_code_that_does_not_check_them(small):
    run(small)
    program = f"{CALL}\ntry:\n    outer(np.arange(3.0), 9)\nexcept IndexError:\n    print('out of bounds')"
    assert run(small, program, NUMBA_BOUNDSCHECK="1").endswith("out of bounds")


def test_one_function_compiled_in_two_ways_is_kept_twice(loaded):
    assert again(loaded, fastmath={"contract", "reassoc"}) == (21.0, 0)
    assert again(loaded, fastmath={"reassoc", "contract"}) == (21.0, 1)
    assert again(loaded) == (21.0, 1)


def test_types_have_code_of_their_own(loaded):
    kernel = loaded.keep(njit(loaded.plain))
    assert kernel(np.arange(3, dtype=np.int32), 2) == 21
    assert kernel(np.arange(3.0), 2) == 21.0
    assert list(kernel.stats.cache_hits.values()) == [1]


def test_a_source_that_changes_under_a_process_leaves_nothing_behind(loaded, small):
    # What runs is still the old helper: under the new source's name it would be stale for all that come.
    write(small / "constants.py", "FACTOR = 20\n")
    assert again(loaded) == (21.0, 0)
    assert again(loaded) == (21.0, 0)
    assert len(kept(small)) == 1
    assert run(small) == "41.0 0"


def test_code_compiled_late_belongs_to_the_source_that_was_imported(small):
    # An upgrade between import and first call.
    upgrade = f"open({str(small / 'constants.py')!r}, 'w').write('FACTOR = 300\\n');"
    assert run(small, CALL.replace("print", f"{upgrade} print")) == "21.0 0"
    assert run(small) == "601.0 0"


def test_recompiling_deletes_what_was_kept(loaded, small):
    (path,) = kept(small)
    path.write_bytes(b"")
    loaded.outer.recompile()
    assert path.stat().st_size > 0


def test_a_kernel_keeps_its_arithmetic_whoever_calls_it_first():
    """numba hands the `fastmath` of a caller down to what it compiles for it, and all later callers would get that."""

    @part()
    def is_nan(x):
        return x != x

    @part(fastmath={"nnan"})
    def says_so(x):
        return is_nan(x)

    assert says_so(np.nan) in (True, False)  # compiles both
    assert is_nan(np.nan)
    for signature in is_nan.dispatcher.signatures:
        assert " nnan " not in is_nan.dispatcher.inspect_llvm(signature)
