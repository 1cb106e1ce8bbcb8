"""Processes and versions that keep their machine code in one folder are not in each other's way."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from small_package import CALL, NEEDS_COMPILER, again, environment, kept, run

pytestmark = NEEDS_COMPILER


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
