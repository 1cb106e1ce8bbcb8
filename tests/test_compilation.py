"""Machine code on disk: never stale, never damaged, never in the way.

Most is shown on a package of three small files with a copy of `kernel_cache.py`, whose kernel compiles in a blink.
"""

from __future__ import annotations

import ast
import importlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numba
import numpy as np
import pytest
from numba import njit
from places import ROOT

from driftmoe import kernel_cache
from driftmoe.compilation import part

pytestmark = pytest.mark.skipif(
    bool(numba.config.DISABLE_JIT), reason="without compilation there is no code to keep"
)


HELPER = """\
from numba import njit

from small.constants import FACTOR

@njit
def scaled(x):
    return FACTOR * x
"""
OUTER = """\
from numba import njit

from small.helper import (
    scaled,  # import (this
)
from small.kernel_cache import keep

def plain(values, i):
    return scaled(values[i]) + 1

outer = keep(njit(plain))
"""
CALL = """\
import numpy as np
from small.outer import outer
print(outer(np.arange(3.0), 2), sum(outer.stats.cache_hits.values()))
"""


def write(path, text):
    """As an editor does; a second in the future, so that Python never takes the source for the one it compiled."""
    path.write_text(text)
    WRITTEN.append(path)
    stamp = time.time() + len(WRITTEN)
    os.utime(path, (stamp, stamp))


WRITTEN = []


@pytest.fixture
def small(tmp_path):
    """A package whose kernel `outer` calls a helper in another file, which takes a constant from a third."""
    package = tmp_path / "site" / "small"
    package.mkdir(parents=True)
    shutil.copy(kernel_cache.__file__, package)
    (package / "__init__.py").write_text("")
    (package / "unrelated.py").write_text("")
    write(package / "constants.py", "FACTOR = 10\n")
    write(package / "helper.py", HELPER)
    write(package / "outer.py", OUTER)
    return package


def environment(package, **variables):
    """Of a user who has set nothing of numba's; `None` takes a variable away."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("NUMBA_", "XDG_"))}
    kept |= {"PYTHONPATH": str(package.parent), "HOME": str(package.parent.parent / "home")}
    return kept | variables


def run(package, program=CALL, **variables):
    """What a new process prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        env=environment(package, **variables),
        cwd=package.parent,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def kept(folder):
    return sorted(folder.rglob("*.nbc"))


# --- never stale ------------------------------------------------------------------------------------------------------


def test_the_next_process_compiles_nothing(small):
    assert run(small) == "21.0 0"
    assert run(small) == "21.0 1"
    assert len(kept(small.parent.parent)) == len(kept(small / "__pycache__")) == 1


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


SOURCES = [*(ROOT / "driftmoe").rglob("*.py"), *(ROOT / "streams").rglob("*.py")]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_imports_are_found_as_the_parser_finds_them(path):
    package = path.relative_to(ROOT).parts[0]

    def file(name):
        base = ROOT.joinpath(*name.split("."))
        return next((p for p in (base / "__init__.py", Path(f"{base}.py")) if p.exists()), None)

    expected = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            expected |= {file(alias.name) for alias in node.names if alias.name.split(".")[0] == package}
        elif isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == package:
            expected |= {file(f"{node.module}.{alias.name}") or file(node.module) for alias in node.names}
    found = importlib.import_module(f"{package}.kernel_cache")._source(path).imports
    assert found == expected


@pytest.mark.parametrize(
    "path",
    [path for path in (ROOT / "streams" / "synthetic").glob("*.py") if "\n@kernel\n" in path.read_text()],
    ids=lambda path: path.stem,
)
def test_streams_kernels_hang_on_the_random_numbers_and_on_what_they_share(path):
    from streams import kernel_cache

    imports = kernel_cache._source(path).imports
    assert ROOT / "streams" / "java_random.py" in imports
    assert path.stem == "generator" or path.with_name("generator.py") in imports


@pytest.mark.parametrize(
    "statement",
    [
        "from small import helper",
        "from small.helper import scaled as s, other",
        "import math, small.helper as h",
        "from . import helper",
        "from .helper import scaled",
        "from small.helper import *",
        "from small import (\n    constants,  # why, and (how\n    helper,\n)",
        "def late():\n    from small.helper import scaled",
    ],
)
def test_all_ways_to_import_are_seen(small, statement, monkeypatch):
    monkeypatch.syspath_prepend(small.parent)
    forget("small")
    module = importlib.import_module("small.kernel_cache")
    (small / "other.py").write_text(f'"""Text."""\n\n{statement}\n')
    assert small / "helper.py" in module._source(small / "other.py").imports
    (small / "sub").mkdir()
    (small / "sub" / "__init__.py").write_text("from ..helper import scaled\nfrom . import leaf\n")
    (small / "sub" / "leaf.py").write_text("from .. import constants\n")
    assert module._source(small / "sub" / "__init__.py").imports == {
        small / "helper.py",
        small / "sub" / "leaf.py",
    }
    assert module._source(small / "sub" / "leaf.py").imports == {small / "constants.py"}


def forget(package):
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        del sys.modules[name]


@pytest.fixture
def loaded(small, monkeypatch, tmp_path):
    """The same package within this process, whose kernel has been compiled and kept."""
    monkeypatch.syspath_prepend(small.parent)
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    forget("small")
    cache = importlib.import_module("small.kernel_cache")
    monkeypatch.setattr(cache, "_user_folder", lambda: tmp_path / "home")
    module = importlib.import_module("small.outer")
    assert module.outer(np.arange(3.0), 2) == 21.0
    yield module
    forget("small")


def again(module, **options):
    """What the kernel of a new process would answer, and whether it would find the code."""
    kernel = module.keep(njit(**options)(module.plain))
    answer = kernel(np.arange(3.0), 2)
    return answer, sum(kernel.stats.cache_hits.values())


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


@pytest.mark.parametrize(
    "variables",
    [
        {"NUMBA_CPU_NAME": "nehalem", "NUMBA_CPU_FEATURES": "+sse4.2,+popcnt"},
        {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx2,+fma"},
        {"NUMBA_CPU_FEATURES": ""},
        {"NUMBA_BOUNDSCHECK": "1"},
        {"NUMBA_OPT": "1"},
        {"NUMBA_LOOP_VECTORIZE": "0"},
        {"NUMBA_DEBUGINFO": "1"},
    ],
    ids=lambda variables: " ".join(variables),
)
def test_another_processor_or_option_has_code_of_its_own(small, variables):
    run(small)
    assert run(small, **variables) == "21.0 0"
    assert run(small, **variables) == "21.0 1"
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


def test_a_function_of_another_package_is_not_kept(tmp_path):
    @njit
    def elsewhere(x):
        return x + 1

    assert kernel_cache.keep(elsewhere)(1) == 2
    assert elsewhere.stats.cache_path is None
    elsewhere.recompile()


def test_without_compilation_a_kernel_is_the_function(small):
    program = "from small.outer import outer, plain; print(outer is plain)"
    assert run(small, program, NUMBA_DISABLE_JIT="1") == "True"
    assert kept(small.parent.parent) == []


# --- where it lies ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["__pycache__", "NUMBA_CACHE_DIR"])
def test_neither_time_nor_place_of_a_file_counts(small, tmp_path, place):
    def variables(site):
        return {"NUMBA_CACHE_DIR": str(site / "cache")} if place == "NUMBA_CACHE_DIR" else {}

    run(small, **variables(small.parent))
    moved = tmp_path / "elsewhere"
    shutil.copytree(small.parent, moved)
    for path in moved.rglob("*"):
        os.utime(path, (1e9, 1e9))
    shutil.rmtree(small.parent)
    assert run(moved / "small", **variables(moved)) == "21.0 1"


def test_the_user_says_where_it_lies(small, tmp_path):
    for expected in ("21.0 0", "21.0 1"):
        assert run(small, NUMBA_CACHE_DIR=str(tmp_path / "deep" / "cache")) == expected
    assert len(kept(tmp_path / "deep" / "cache")) == len(kept(tmp_path)) == 1
    # A folder given for a fresh start is a fresh start.
    assert run(small, NUMBA_CACHE_DIR=str(tmp_path / "new")) == "21.0 0"


def block(folder):
    """Let a file lie where a folder would be made: that stops the superuser too."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.write_text("")


def test_where_the_package_cannot_be_written_the_user_keeps_it(small, tmp_path):
    block(small / "__pycache__")
    assert run(small) == "21.0 0"
    assert run(small) == "21.0 1"
    assert len(kept(tmp_path / "home")) == 1


def test_where_the_named_folder_cannot_be_written_another_is_taken(small, tmp_path):
    block(tmp_path / "file")
    for expected in ("21.0 0", "21.0 1"):
        assert run(small, NUMBA_CACHE_DIR=str(tmp_path / "file" / "cache")) == expected
    assert len(kept(small / "__pycache__")) == 1


def test_where_nothing_can_be_written_each_process_compiles(small, tmp_path):
    block(small / "__pycache__")
    block(tmp_path / "home")
    assert run(small) == "21.0 0"
    assert run(small) == "21.0 0"
    assert kept(tmp_path) == []


def test_code_that_an_image_carries_is_read_where_it_cannot_be_written(loaded, monkeypatch):
    monkeypatch.setattr(sys.modules["small.kernel_cache"], "_write", lambda path, content: False)
    assert again(loaded) == (21.0, 1)


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), PermissionError(13, "denied")])
def test_a_full_disk_does_not_stop_a_kernel(loaded, small, monkeypatch, tmp_path, error):
    def refuse(*arguments):
        raise error

    def write_half(path, content):
        with open(path, "wb") as file:
            file.write(content[: len(content) // 2])
        raise error

    for target, name, broken in ((os, "replace", refuse), (Path, "write_bytes", write_half)):
        with monkeypatch.context() as patch:
            patch.setattr(target, name, broken)
            assert again(loaded, error_model="numpy") == (21.0, 0)
        assert len(kept(small)) == 1
        assert list(tmp_path.rglob("*.part")) == []


# --- never damaged ----------------------------------------------------------------------------------------------------


def spoilt(content, n):
    """Copies of a file with one bit turned over, or cut off, at `n` places each, or overwritten."""
    for at in np.linspace(0, len(content) - 1, n).astype(int):
        yield content[:at] + bytes([content[at] ^ (1 << at % 8)]) + content[at + 1 :]
        yield content[:at]
    yield content + b"\0"
    yield bytes(len(content))
    yield b"no machine code"


def test_a_damaged_file_is_thrown_away_and_compiled_anew(loaded, small):
    (path,) = kept(small)
    whole = path.read_bytes()
    for content in spoilt(whole, 25):
        path.write_bytes(content)
        assert again(loaded) == (21.0, 0)
        assert again(loaded) == (21.0, 1)
    assert kept(small) == [path]


def test_every_damage_is_noticed(loaded, small):
    cache = sys.modules["small.kernel_cache"]
    (path,) = kept(small)
    for content in spoilt(path.read_bytes(), 500):
        path.write_bytes(content)
        assert cache._read(path) is None
        assert not path.exists()


def test_damage_that_cannot_be_mended_costs_a_compilation(loaded, small, monkeypatch):
    # In an image that is only read: the user's folder has the whole one from then on.
    cache = sys.modules["small.kernel_cache"]
    (path,) = kept(small)
    path.write_bytes(b"")
    write_it, inside = cache._write, str(small)
    monkeypatch.setattr(Path, "unlink", lambda path, missing_ok=False: None)
    monkeypatch.setattr(cache, "_write", lambda p, content: inside not in str(p) and write_it(p, content))
    assert again(loaded) == (21.0, 0)
    assert again(loaded) == (21.0, 1)
    assert path.read_bytes() == b""


def test_code_of_another_kernel_under_this_name_is_not_run(loaded, small):
    (path,) = kept(small)
    content = path.read_bytes()
    kernel = loaded.keep(njit(loaded.plain))
    kernel(np.arange(3, dtype=np.int32), 2)
    (other,) = set(kept(small)) - {path}
    other.write_bytes(content)
    kernel = loaded.keep(njit(loaded.plain))
    assert kernel(np.arange(3, dtype=np.int32), 2) == 21
    assert sum(kernel.stats.cache_hits.values()) == 0


def test_a_folder_in_the_place_of_a_file_is_no_code(loaded, small):
    (path,) = kept(small)
    path.unlink()
    path.mkdir()
    assert again(loaded) == (21.0, 0)
    assert again(loaded) == (21.0, 1)  # from the next place


# --- beside others ----------------------------------------------------------------------------------------------------


def test_processes_that_compile_at_the_same_time_do_not_harm_each_other(small):
    # All wait for the same moment after the imports, which take unequally long.
    start = time.time() + 4.0
    program = CALL.replace("print", f"import time; time.sleep(max(0, {start} - time.time())); print")
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            env=environment(small),
            cwd=small.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in processes:
        answer, error = process.communicate()
        assert process.returncode == 0, error
        assert answer.startswith("21.0 ")
    assert run(small) == "21.0 1"
    assert len(kept(small)) == 1
    assert list(small.rglob("*.part")) == []


def test_old_code_does_not_pile_up(loaded, small):
    cache = sys.modules["small.kernel_cache"]
    place = kept(small)[0].parent.parent
    ours = kept(small)[0].parent
    others = [place / f"small.outer-{i:016x}" for i in range(20)]
    neighbour = place / "small.outer2-0123456789abcdef"
    for i, folder in enumerate([*others, neighbour]):
        folder.mkdir()
        (folder / "plain-0.nbc").write_bytes(b"")
        os.utime(folder, (1e9 + i, 1e9 + i))
    again(loaded, error_model="numpy")
    left = set(place.glob("small.outer-*"))
    assert left == {ours, *others[-(cache.GENERATIONS - 1) :]}
    assert neighbour.exists()


def test_code_in_use_outlives_code_that_is_not(loaded, small):
    cache = sys.modules["small.kernel_cache"]
    folder = kept(small)[0].parent
    os.utime(folder, (1e9, 1e9))
    cache._note_use.cache_clear()  # as in a new process
    again(loaded)
    assert folder.stat().st_mtime > 1.1e9


def test_what_a_killed_process_left_is_cleared_away(loaded, small):
    folder = kept(small)[0].parent
    old, new = folder / "plain-0.nbc.0.part", folder / "plain-0.nbc.1.part"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (1e9, 1e9))
    again(loaded, error_model="numpy")
    assert not old.exists()
    assert new.exists()  # its process may be at work


def test_recompiling_deletes_what_was_kept(loaded, small):
    (path,) = kept(small)
    path.write_bytes(b"")
    loaded.outer.recompile()
    assert path.stat().st_size > 0


def test_code_that_cannot_be_kept_says_so(loaded, small):
    path = small / "large.py"
    path.write_text(
        "import numpy as np\nfrom numba import njit\nfrom small.kernel_cache import keep\n"
        "TABLE = np.zeros(10**6)\n"
        "def look(i):\n    return TABLE[i]\n"
        "look = keep(njit(look))\n"
    )
    module = importlib.import_module("small.large")
    with pytest.warns(numba.NumbaWarning, match=r"machine code of .*look.* is not kept"):
        assert module.look(3) == 0.0


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
    for signature in is_nan.signatures:
        assert " nnan " not in is_nan.inspect_llvm(signature)
