"""Fetch data files: from public locations, or with pip from an archive on the package index."""

from __future__ import annotations

import http.client
import importlib.metadata
import importlib.util
import os
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from streams import cache
from streams.cache import NOT_TAKEN, cache_staging, naming_origin, take
from streams.sources import ARCHIVE, ARCHIVE_BYTES, ARCHIVE_SHA256, SOURCES
from streams.staging import naming

TIMEOUT_SECONDS = 15
MIN_BYTES_PER_SECOND = 1000
"""Lowest average speed of a location after `TIMEOUT_SECONDS`. A slower one is given up."""

Progress = Callable[[int, int | None, str], None]
"""Called as `progress(done_bytes, total_bytes or None, description)` while a file is fetched."""


def fetch_public(name: str, progress: Progress | None) -> Path:
    """Fetch a data set from the first location that has it. If none has it, raise OSError with the reason of each."""
    reasons = []
    kept = cache.cache_dir() / SOURCES[name].file
    for url in SOURCES[name].urls:
        host = urllib.parse.urlsplit(url).hostname or url
        try:
            with cache_staging() as folder:
                copy = folder / "copy"
                _download(url, copy, progress, f"downloading {SOURCES[name].file} from {host}", kept)
                with naming_origin(url, copy):
                    return take(name, copy)
        except (OSError, http.client.HTTPException, ValueError) as error:
            if getattr(error, "filename", None) in (str(kept), f"{kept}.sha256"):
                raise  # the disk refuses the file, so no other location would help
            reasons.append(f"{host}: {error}")
    raise OSError("; ".join(reasons) or "no public location of it is known, only copies circulate")


class _KeepingHttps(urllib.request.HTTPRedirectHandler):
    """Refuse redirects from an encrypted location to one that is not."""

    def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: str) -> Any:
        if req.full_url.startswith("https:") and not newurl.startswith("https:"):
            raise OSError(f"the location sends on to {newurl}, which is not encrypted")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _download(url: str, out: Path, progress: Progress | None, description: str, kept: Path) -> None:
    """Write the content of a location to `out`. An error of the disk names `kept`, its final place."""
    request = urllib.request.Request(url, headers={"User-Agent": "driftmoe"})
    start = time.monotonic()
    open_url = urllib.request.build_opener(_KeepingHttps).open
    with open_url(request, timeout=TIMEOUT_SECONDS) as response, out.open("wb") as file:
        length = response.headers.get("Content-Length")
        total, done = int(length) if length else None, 0
        # read1 returns what has arrived; read would wait for the whole chunk.
        while (total is None or done < total) and (chunk := response.read1(1 << 18)):
            with naming(kept, NOT_TAKEN):
                file.write(chunk)
            done += len(chunk)
            seconds = time.monotonic() - start
            if seconds > TIMEOUT_SECONDS and done < MIN_BYTES_PER_SECOND * seconds:
                raise OSError(f"only {done} bytes came in {seconds:.0f} seconds")
            if progress is not None:
                progress(done, total, description)
    if total is not None and done != total:
        raise OSError(f"the connection ended after {done} of {total} bytes")


def fetch_archived(name: str, progress: Progress | None) -> Path:
    """Download the archive with pip, with its hash pinned, and extract the data files.

    pip knows the user's index, proxy and certificates. It runs the package's setup script for metadata, which is why
    the hash is pinned. Without build isolation it downloads nothing else, but needs setuptools in this environment.

    Raises
    ------
    OSError
        If pip or setuptools is not installed, or pip fails; the message then ends with an error line of pip.
    """
    _check_installer()
    with cache_staging() as folder:
        requirements, archive, log = folder / "requirements.txt", folder / ARCHIVE, folder / "pip.log"
        requirements.write_text(f"scikit-multiflow==0.4.1 --hash=sha256:{ARCHIVE_SHA256}\n")
        options = ["download", "--require-hashes", "--no-deps", "--no-input", "--no-build-isolation"]
        options += ["--no-binary", "scikit-multiflow", "-r", requirements.name]
        options += ["--timeout", str(TIMEOUT_SECONDS), "--retries", "1", "--disable-pip-version-check"]
        with log.open("wb") as out, _pip(options, folder, out) as process:
            while _is_running(process):
                if progress is not None:
                    progress(_downloaded_bytes(folder), ARCHIVE_BYTES, f"downloading {ARCHIVE}")
        if process.returncode != 0:
            lines = log.read_text(errors="replace").strip().splitlines() or ["no message"]
            errors = [line for line in lines if line.lower().startswith("error")] or lines
            raise OSError(f"pip download scikit-multiflow==0.4.1: {errors[-1]}")
        if progress is not None:
            progress(ARCHIVE_BYTES, ARCHIVE_BYTES, f"downloading {ARCHIVE}")
        with naming_origin(ARCHIVE, archive):
            return take(name, archive)


_PIP = """
import os, runpy, signal, sys, threading

def end_with_parent():
    os.read(0, 1)  # returns when nobody holds the other end any more
    if hasattr(os, "killpg"):
        os.killpg(0, signal.SIGKILL)
    os._exit(1)

threading.Thread(target=end_with_parent, daemon=True).start()
runpy.run_module("pip", run_name="__main__", alter_sys=True)
"""
"""Runs pip. It ends, with its children, when the process at the other end of its input ends in any way."""


@contextmanager
def _pip(options: list[str], folder: Path, out: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Start pip in a folder. If the block is left before pip is done, end pip and its children."""
    # pip writes its partial download below TMPDIR, so its size can be watched there.
    env = os.environ | dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(folder.resolve()))
    with subprocess.Popen(
        [sys.executable, "-c", _PIP, *options],
        cwd=folder,
        env=env,
        stdin=subprocess.PIPE,
        stdout=out,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # a process group of its own, so that all of it can be killed
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None and hasattr(os, "killpg"):
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            process.kill()


def _check_installer() -> None:
    if importlib.util.find_spec("pip") is None:
        raise OSError("this Python environment has no pip; run python -m ensurepip and try again")
    try:
        version = importlib.metadata.version("setuptools")
    except importlib.metadata.PackageNotFoundError:
        version = "0.0"
    if [int(part) for part in version.split(".")[:2]] < [70, 1]:  # older versions also need the package wheel
        raise OSError(
            "pip needs setuptools 70.1 or newer here; "
            "run python -m pip install --upgrade setuptools and try again"
        )


def _is_running(process: subprocess.Popen[bytes]) -> bool:
    """Return whether the process still runs after a tenth of a second."""
    try:
        process.wait(timeout=0.1)
    except subprocess.TimeoutExpired:
        return True
    return False


def _downloaded_bytes(folder: Path) -> int:
    """Return the size of the archive on disk. pip first writes it to a folder of its own, then moves it."""
    size = 0
    for root, _, files in os.walk(folder):
        if ARCHIVE in files:
            try:
                size = max(size, os.path.getsize(os.path.join(root, ARCHIVE)))
            except FileNotFoundError:  # moved since the walk saw it
                continue
    return size
