"""Progress bars on stderr."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from driftmoe.cli.late import Late
from driftmoe.cli.own_streams import STANDARD_INPUT, copy_of_standard_input, is_own, open_own
from driftmoe.cli.terminal import progress_console
from streams.wrapped import is_wrapped, open_wrapped

if TYPE_CHECKING:
    from streams import Stream, opening, wrappers
    from streams.file_options import FileOptions
    from streams.real import Progress as Report
    from streams.stream import Block
else:
    opening, wrappers = Late("streams.opening"), Late("streams.wrappers")


def open_with_bar(
    name: str,
    options: FileOptions,
    limit: int | None,
    seed: int | None,
    data_dir: Path | None,
    shuffle_window: int | None = None,
) -> Stream:
    """Open a stream by name, a file, standard input (`-`), a user's own stream (`module:Class`), or a wrapped one.

    A bar is shown while the data of a real stream are downloaded. With `shuffle_window` its samples are shuffled within
    windows of so many; the seed decides the order, also of real streams.
    """
    stream = _opened(name, options, limit, seed, data_dir)
    return stream if shuffle_window is None else wrappers.ShuffleWindow(stream, shuffle_window, seed=seed)


def _opened(
    name: str, options: FileOptions, limit: int | None, seed: int | None, data_dir: Path | None
) -> Stream:
    if is_wrapped(name):

        def open_inner(inner: str, n_samples: int | None) -> Stream:
            return _opened(inner, options, n_samples, seed, data_dir)

        return open_wrapped(name, open_inner, limit=limit, seed=seed)
    if is_own(name):
        for option, value in options.given().items():
            raise ValueError(f"{option}={value!r} is for files, and {name} is a stream; leave {option} out")
        return open_own(name, limit, seed)
    if name == STANDARD_INPUT:
        name = str(copy_of_standard_input())
    with download_bar() as progress:
        return opening.open_stream(
            name, options, limit=limit, seed=seed, data_dir=data_dir, progress=progress
        )


@contextmanager
def download_bar() -> Iterator[Report]:
    """Yield a function for `streams.fetch` to call. The first call shows the bar."""
    progress = Progress(*Progress.get_default_columns(), DownloadColumn(), console=progress_console())
    tasks: list[TaskID] = []

    def update(done: int, total: int | None, description: str) -> None:
        if not tasks:
            progress.start()
            tasks.append(progress.add_task(description))
        progress.update(tasks[0], completed=done, total=total, description=description)

    try:
        yield update
    finally:
        if tasks:
            progress.stop()


@contextmanager
def samples_bar(
    description: str, total: int | None, unit: str = "samples"
) -> Iterator[Callable[[int], None]]:
    """Yield a function to call with the number of samples done so far. The first call shows the bar."""
    start = time.perf_counter()
    progress = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn(f"{{task.completed:,.0f}} {unit}, {{task.fields[rate]:,.0f}}/s"),
        TimeRemainingColumn(),
        console=progress_console(),
    )
    task = progress.add_task(description, total=total, rate=0.0)

    def update(n_done: int) -> None:
        progress.start()  # does nothing when it has started
        progress.update(task, completed=n_done, rate=n_done / (time.perf_counter() - start))

    try:
        yield update
    finally:
        if progress.live.is_started:
            progress.stop()


class Watched:
    """A stream that moves a progress bar as its samples are taken."""

    def __init__(self, stream: Stream, progress: Progress, task: TaskID) -> None:
        self.classes, self.features, self.samples = stream.classes, stream.features, stream.samples
        self._stream, self._progress, self._task = stream, progress, task

    def __iter__(self) -> Iterator[tuple[dict[Hashable, Any], Any]]:
        for n, sample in enumerate(self._stream):
            if n % 50 == 0:
                self._progress.update(self._task, completed=n)
            yield sample

    def blocks(self, size: int) -> Iterator[Block]:
        """Yield the blocks of the stream."""
        n = 0
        for block in self._stream.blocks(size):
            self._progress.update(self._task, completed=n)
            yield block
            n += len(block.y)
