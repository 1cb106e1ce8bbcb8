"""A package of three small files with a copy of `kernel_cache.py`, whose kernel compiles in a blink."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import numba
import numpy as np
import pytest
from numba import njit

NEEDS_COMPILER = pytest.mark.skipif(
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
WRITTEN = []
"""Sources so far, of this process."""


def write(path, text):
    """As an editor does; a second in the future, so that Python never takes the source for the one it compiled."""
    path.write_text(text)
    WRITTEN.append(path)
    stamp = time.time() + len(WRITTEN)
    os.utime(path, (stamp, stamp))


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


def forget(package):
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        del sys.modules[name]


def again(module, **options):
    """What the kernel of a new process would answer, and whether it would find the code."""
    kernel = module.keep(njit(**options)(module.plain))
    answer = kernel(np.arange(3.0), 2)
    return answer, sum(kernel.stats.cache_hits.values())
