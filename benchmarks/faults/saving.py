"""Killed processes, full disks, read-only folders and two writers, while models are saved.

Each function works in a folder of its own, and forks: `apart` calls it in a new process, which has no threads. It
returns how often the fault was tried, and how often it did harm: a file that is lost, damaged, of no state that
existed, or older than the last one that was saved; something left behind; an error that does not name the file.
"""

from __future__ import annotations

import errno
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import driftmoe
from benchmarks.faults.learning import growing
from driftmoe import DriftMoEClassifier, staging
from driftmoe.saving import KEPT

FILE = "model.moe"

EVERY = 5
"""Samples between two files of a learner that is killed."""

NOBODY = 65_534
"""User whom permissions bind, while they do not bind root."""

TRACED = (driftmoe.saving.__file__, staging.__file__)
"""Files of code before whose lines a process is killed: what writes files."""


def apart(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a new process, and return its answer."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def small(seed: int = 1) -> DriftMoEClassifier:
    """Return a model whose file has some kilobytes."""
    return DriftMoEClassifier("moe-data", n_experts=2, hidden=(4,), seed=seed)


def n_learnt(model: Any) -> int:
    """Return the number of samples that a model has learnt."""
    return int(model.routing_report().cumulative.n_samples)


def killed(folder: Path, n_kills: int, seed: int = 1) -> tuple[int, int]:
    """Kill a learner at random moments while it saves itself every few samples; return kills, and harm.

    The next learner goes on from the file. It must be of a state that was announced before it was saved, and not older
    than the last one whose saving had ended. In the end the model must be as one that learnt undisturbed.
    """
    rng, samples, file, log = random.Random(seed), growing(2000), folder / FILE, folder / "log"
    log.touch()
    n_lost = 0
    for number in range(n_kills):
        n_lines = len(_lines(log))
        if not (child := os.fork()):
            _learn_and_save(file, log, samples, compress=number % 2 == 1)
        if not n_lines:  # the first one compiles
            while len(_lines(log)) < 2:
                if os.waitpid(child, os.WNOHANG)[0]:
                    raise RuntimeError("the learner ended before it had saved its model")
                time.sleep(0.01)
        time.sleep(rng.uniform(0.0, 0.1))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        n_lost += not _is_of_a_state(file, _lines(log))
    log.unlink()
    model, alone = driftmoe.load(file), small()
    for i in range(n_learnt(model)):
        alone.learn_one(*samples[i % len(samples)])
    n_lost += model.digest() != alone.digest()
    model.save(file)
    return n_kills, n_lost + _n_left(folder)


def _learn_and_save(file: Path, log: Path, samples: list[Any], *, compress: bool) -> None:
    model = driftmoe.load(file) if file.exists() else small()
    with log.open("a", buffering=1) as told:
        while True:
            for _ in range(EVERY):
                model.learn_one(*samples[n_learnt(model) % len(samples)])
            told.write(f"{model.digest()} {n_learnt(model)}\n")
            model.save(file, compress=compress)
            told.write("saved\n")


def _lines(log: Path) -> list[str]:
    return log.read_text().splitlines()


def _is_of_a_state(file: Path, lines: list[str]) -> bool:
    """Whether a file is of a state that was announced, and of none before the last that was saved."""
    announced: set[str] = set()
    saved = None
    for i, line in enumerate(lines):
        if line != "saved":
            announced.add(line)
        else:
            saved = lines[i - 1]
    if saved is None:
        return True  # there need not be a file yet
    model = _loaded(file)
    if model is None:
        return False
    found = f"{model.digest()} {n_learnt(model)}"
    return found in announced and n_learnt(model) >= int(saved.split()[1])


def _loaded(file: Path) -> Any:
    """Return the model of a file, or None if there is none, or none that can be loaded."""
    try:
        return driftmoe.load(file)
    except (OSError, ValueError):
        return None


def killed_at_each_line(folder: Path) -> tuple[int, int]:
    """Kill a process before each line of saving, in turn; return kills, and harm.

    The file is the old one until some line, and the new one from then on.
    """
    file = folder / FILE
    old, new = small(1), small(2)
    states = {old.digest(): False, new.digest(): True}
    content = old.to_bytes()
    n_kills = n_lost = 0
    was_new = False
    while True:
        file.write_bytes(content)
        if not (child := os.fork()):
            sys.settrace(_killing(n_kills))
            new.save(file)
            sys.settrace(None)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        is_new = states.get(getattr(_loaded(file), "digest", str)())
        n_lost += is_new is None or (was_new and not is_new)
        was_new = bool(is_new)
        if not os.WIFSIGNALED(status):
            break
        n_kills += 1
        for left in folder.glob(f"{staging.PREFIX}*"):
            os.utime(left, (0, 0))  # the next process takes it for an old one
    return n_kills, n_lost + (not was_new) + _n_left(folder)


def _killing(number: int) -> Callable[[FrameType, str, Any], Any]:
    """Return a trace that kills this process before a line of saving, counted from 0."""
    left = [number]

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename not in TRACED:
            return None
        if event == "line":
            left[0] -= 1
            if left[0] == -1:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    return trace


def _n_left(folder: Path) -> int:
    """Return the number of files that saving does not clean up, after a process was killed.

    A folder without a lock may be of a process that is about to take it, and is kept for a minute.
    """
    for left in folder.glob(f"{staging.PREFIX}*"):
        if (left / staging.LOCK).exists():
            return 1
        os.utime(left, (0, 0))
    driftmoe.load(folder / FILE).save(folder / FILE)
    return len(os.listdir(folder)) - 1


def _is_refused(model: Any, file: str | Path, *numbers: int) -> bool:
    """Whether saving fails with one of some errors, which names the file and says what is kept."""
    try:
        driftmoe.save(model, file)
    except OSError as error:
        return error.errno in numbers and KEPT in str(error) and str(file) in str(error)
    return False


def limited(folder: Path, n_limits: int) -> tuple[int, int]:
    """Save to disks that are full after so many bytes, by the limit of a file's size; return saves, and harm."""
    import resource

    file = folder / FILE
    first, second = small(1), small(2)
    size = len(second.to_bytes())
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    n_lost = 0
    for number in range(n_limits):
        if number % 2:
            first.save(file)
        else:
            file.unlink(missing_ok=True)
        resource.setrlimit(resource.RLIMIT_FSIZE, (number * size // n_limits, most))
        try:
            is_refused = _is_refused(second, file, errno.EFBIG)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
        is_old = _loaded(file).digest() == first.digest() if number % 2 else not file.exists()
        n_lost += not (is_refused and is_old and len(os.listdir(folder)) == number % 2)
    return n_limits, n_lost


ON_A_SMALL_DISK = """
mount -t tmpfs -o size=64k tmpfs "$1" && exec "$2" -c "
from pathlib import Path
from benchmarks.faults import saving
print(*saving.filled(Path('$1')))"
"""


def small_disk(folder: Path) -> tuple[int, int] | None:
    """Call `filled` on a disk of 64 kB, in memory; return None where this process may mount none."""
    if shutil.which("unshare") is None:
        return None
    namespace = ["--mount"] if os.geteuid() == 0 else ["--mount", "--map-root-user"]
    done = subprocess.run(
        ["unshare", *namespace, "sh", "-c", ON_A_SMALL_DISK, "sh", str(folder), sys.executable],
        capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode and "Traceback" not in done.stderr:
        return None
    if done.returncode:
        raise RuntimeError(done.stderr)
    tried, lost = done.stdout.split()
    return int(tried), int(lost)


def filled(folder: Path) -> tuple[int, int]:
    """Save to a disk that gets fuller from file to file; return saves that failed, and harm."""
    file, ballast = folder / FILE, folder / "ballast"
    first, second = small(1), small(2)
    first.save(file)
    n_tried = n_lost = 0
    while True:
        try:
            with ballast.open("ab") as out:
                out.write(bytes(1024))
        except OSError:
            break
        driftmoe.load(file)
        try:
            second.save(file)
        except OSError as error:
            n_tried += 1
            n_lost += not (error.errno == errno.ENOSPC and KEPT in str(error) and str(file) in str(error))
            n_lost += _loaded(file).digest() != first.digest()
        else:
            n_lost += _loaded(file).digest() != second.digest()
            first, second = second, first
        n_lost += sorted(os.listdir(folder)) != ["ballast", FILE]
    return n_tried, n_lost + (n_tried == 0)


def forbidden(folder: Path) -> tuple[int, int]:
    """Save to places where a process may not, or cannot, write; return saves, and harm.

    Root gives its rights up first, in this process for good: permissions do not bind it.
    """
    first, second = small(1), small(2)
    first.save(folder / FILE)
    (folder / "read").mkdir()
    (folder / "folder").mkdir()
    first.save(folder / "read" / FILE)
    (folder / "read").chmod(0o555)
    folder.chmod(0o777)
    os.chdir(folder)
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    places = (f"read/{FILE}", "read/another.moe")
    n_lost = sum(not _is_refused(second, place, errno.EACCES) for place in places)
    for place in ("folder", f"{FILE}/{FILE}"):  # a folder, and within a file
        try:
            second.save(place)
            n_lost += 1
        except OSError:
            pass
    n_lost += any(_loaded(Path(place)).digest() != first.digest() for place in (FILE, f"read/{FILE}"))
    n_lost += os.listdir("read") != [FILE] or sorted(os.listdir()) != sorted([FILE, "folder", "read"])
    return len(places) + 2, n_lost


def beside_each_other(folder: Path, n_saves: int, n_writers: int = 2) -> tuple[int, int]:
    """Let processes save different models to one file, while it is read; return saves, and harm."""
    file = folder / FILE
    writers = [small(number) for number in range(n_writers)]
    digests = {model.digest() for model in writers}
    writers[0].save(file)
    children = []
    for model in writers:
        if not (child := os.fork()):
            for _ in range(n_saves):
                model.save(file)
            os._exit(0)
        children.append(child)
    n_lost = n_ended = 0
    while n_ended < n_writers:
        n_lost += getattr(_loaded(file), "digest", str)() not in digests
        ended, status = os.waitpid(-1, os.WNOHANG)
        n_ended += ended in children
        n_lost += ended in children and status != 0
    return n_writers * n_saves, n_lost + (os.listdir(folder) != [FILE])
