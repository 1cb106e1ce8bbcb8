"""Kernels that are compiled before they run, by two processes, and what is said meanwhile."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
import time
from contextlib import suppress

import pytest
from numba.core.compiler import Flags
from places import ROOT
from small_package import NEEDS_COMPILER

from driftmoe import ahead

pytestmark = NEEDS_COMPILER

WANT_FOUR = """
import numpy as np
from numba.core import event
from driftmoe import ahead
from driftmoe.mixture.mixing import correctness, mix, take_rows
from driftmoe.trees.scan import first_wrong

here = []
class Here(event.Listener):
    def on_start(self, told): here.append(told.data["dispatcher"].py_func.__name__)
    def on_end(self, told): pass
event.register("numba:compile", Here())

proba = np.ones((1, 2, 2))
calls = {
    correctness: (proba, np.zeros(1, np.int64), np.ones((1, 2), np.float32)),
    mix: (np.ones((1, 2)), proba, False, np.ones((1, 2))),
    take_rows: (proba[0], np.zeros(1, np.int64), np.ones((1, 2))),
}
"""

NO_SECOND_PYTHON = "ahead._python = lambda: 'python-that-is-not-there'\n"

ENDED_AT_ONCE = "ahead._START = 'raise SystemExit'\n"

COMPILE = """
for kernel, arguments in calls.items():
    ahead.want(kernel, arguments)
ahead.compile_wanted()
kernels = [kernel.py_func.__name__ for kernel in calls]
print(all(kernel.overloads for kernel in calls), sorted(set(kernels) - set(here)))
"""


def said(program, cache, **variables):
    """What a program writes to standard output and to standard error, with a cache of its own."""
    environment = {name: value for name, value in os.environ.items() if name != ahead.QUIET}
    environment |= {"NUMBA_CACHE_DIR": str(cache)} | variables
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, env=environment
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def test_another_process_compiles_some_of_the_kernels(tmp_path):
    program = WANT_FOUR + "ahead._n_cores = lambda: 2\n" + COMPILE
    out, _ = said(program.replace("ahead.compile_wanted()", WAIT_FOR_HELPER), tmp_path)
    assert out == "True ['correctness', 'mix', 'take_rows']\n"


WAIT_FOR_HELPER = """
with ahead._changed:
    assert ahead._changed.wait_for(lambda: len(ahead._kept) == 3, 300)
ahead.compile_wanted()
"""


@pytest.mark.parametrize("alone", [NO_SECOND_PYTHON, ENDED_AT_ONCE, "ahead._n_cores = lambda: 1\n"])
def test_without_another_process_all_kernels_are_compiled_here(tmp_path, alone):
    program = WANT_FOUR + "ahead._n_cores = lambda: 2\n" + alone + COMPILE
    assert said(program, tmp_path)[0] == "True []\n"


def test_a_kernel_whose_compilation_is_interrupted_stays_wanted(tmp_path):
    program = WANT_FOUR + (
        "from unittest.mock import patch\n"
        "ahead._n_cores = lambda: 1\n"
        "ahead.want(mix, calls[mix])\n"
        "try:\n"
        "    with patch.object(mix._compiler, 'compile', side_effect=KeyboardInterrupt):\n"
        "        ahead.compile_wanted()\n"
        "except KeyboardInterrupt:\n"
        "    print(ahead.is_wanted(), len(mix.overloads))\n"
        "ahead.compile_wanted()\n"
        "print(ahead.is_wanted(), len(mix.overloads))\n"
    )
    assert said(program, tmp_path)[0] == "True 0\nFalse 1\n"


def test_flags_have_the_same_values_the_short_way():
    flags = Flags()
    flags.nrt = flags.fastmath = True
    values = [(*flags.values().items(),), hash(flags), flags == Flags(), flags == flags.copy()]
    with ahead.less_overhead():
        assert [(*flags.values().items(),), hash(flags), flags == Flags(), flags == flags.copy()] == values
        assert flags.values.__func__ is ahead._values
    assert flags.values.__func__ is not ahead._values


@pytest.mark.parametrize(
    ("before", "meanwhile"), [((700, 10, 10), ahead.RARELY), ((10**6, 200, 200),) * 2, ((0, 10, 10),) * 2]
)
def test_garbage_is_collected_rarely_while_a_kernel_is_compiled_and_then_as_before(before, meanwhile):
    usual = gc.get_threshold()
    try:
        gc.set_threshold(*before)
        with suppress(KeyboardInterrupt), ahead.less_overhead():
            assert gc.get_threshold() == meanwhile
            raise KeyboardInterrupt
        assert gc.get_threshold() == before
    finally:
        gc.set_threshold(*usual)


EXP = "import numpy as np; from driftmoe import ahead, arithmetic; arithmetic.exp_of(np.ones(2)); "


def test_one_line_on_standard_error_says_that_kernels_are_compiled(tmp_path):
    more = "arithmetic.log_of(np.ones(2))"
    assert said(EXP + more, tmp_path) == ("", ahead.TOLD)
    assert said(EXP + more, tmp_path) == ("", "")  # nothing is left to compile


def test_a_variable_keeps_standard_error_empty(tmp_path):
    assert said(EXP, tmp_path, DRIFTMOE_QUIET="1") == ("", "")


def test_a_worker_process_says_nothing(tmp_path):
    program = (
        "import multiprocessing\n"
        "def work():\n"
        "    import numpy as np\n"
        "    from driftmoe import arithmetic\n"
        "    print(arithmetic.exp_of(np.zeros(1)))\n"
        "process = multiprocessing.get_context('fork').Process(target=work)\n"
        "process.start()\n"
        "process.join()\n"
    )
    assert said(program, tmp_path) == ("[1.]\n", "")


def test_the_helper_ends_with_the_process_that_it_helps(tmp_path):
    program = (
        WANT_FOUR
        + "ahead._n_cores = lambda: 2\nahead.want(mix, calls[mix])\nprint(ahead._helper[0].pid, flush=True)\n"
        + "import os; os._exit(0)"
    )
    out, _ = said(program, tmp_path)
    for _ in range(600):
        if not is_running(int(out)):
            break
        time.sleep(0.1)
    assert not is_running(int(out))


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_cache_that_was_carried_elsewhere_and_cannot_be_written_is_used(tmp_path):
    built, carried = tmp_path / "built", tmp_path / "image" / "kernels"
    said(WANT_FOUR + COMPILE, built)
    shutil.copytree(built, carried)
    shutil.rmtree(built)
    for path in [carried, *carried.rglob("*")]:
        path.chmod(0o555)
    refuse = (  # the superuser may write all the same
        "import os\n"
        "may = os.access\n"
        f"os.access = lambda path, *_: not os.fspath(path).startswith({str(carried)!r}) and may(path, *_)\n"
    )
    before = sorted(carried.rglob("*"))
    assert said(refuse + WANT_FOUR + COMPILE, carried) == ("True ['correctness', 'mix', 'take_rows']\n", "")
    assert sorted(carried.rglob("*")) == before
    for path in [carried, *carried.rglob("*")]:
        path.chmod(0o755)
