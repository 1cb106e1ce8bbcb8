"""The events of a keyed stream as files, which every engine reads, and the samples of a stream as such events.

A folder holds files of JSON lines, `part-000000.jsonl` and so on, each with so many events. A line has `key`, `seq`,
`id`, `kind` and `payload`. `seq` grows over the whole folder.
"""

from __future__ import annotations

import json
import math
import shutil
from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from driftmoe.engines.keyed import Event
from driftmoe.staging import publish

COMPLETE = "complete.json"
"""File that says that a folder has all its events."""

Keyed = tuple[str, Event]
"""The key of an event, and the event."""


def events_of(
    samples: Iterable[tuple[Mapping[Hashable, Any], Any]], key: str, delay: int = 0
) -> Iterator[Keyed]:
    """Yield the events of a stream: each sample goes to the model of its key, which does not see the key.

    Parameters
    ----------
    samples
        Pairs of features and label.
    key
        Feature that is the key. A whole number is the same key as its text: 1007.0 is `1007`.
    delay
        Number of samples, of all keys, between a sample and its label. With 0 they come together. After the last
        sample come the labels that are still missing.

    Raises
    ------
    ValueError
        If a sample has no key.

    Examples
    --------
    >>> from driftmoe.engines.event_files import events_of
    >>> samples = [({"shop": "a", "x": 1.0}, "yes"), ({"shop": "b", "x": 2.0}, "no")]
    >>> for name, event in events_of(samples, "shop", delay=1):
    ...     print(name, *event)
    a 0 0 features {'x': 1.0}
    b 1 1 features {'x': 2.0}
    a 2 0 label yes
    b 3 1 label no
    """
    seq, late = 0, deque[tuple[str, str, Any]]()
    for i, (x, y) in enumerate(samples):
        features = {str(name): _plain(value) for name, value in x.items() if name != key}
        name = x.get(key)
        if name is None or name != name:
            raise ValueError(f"sample {i + 1} has no {key!r}; each needs its key")
        if isinstance(name, float) and name.is_integer():
            name = int(name)  # files have numbers as floats
        name, label = str(name), _plain(y)
        if delay == 0:
            yield name, Event(seq, str(i), "sample", {"features": features, "label": label})
            seq += 1
            continue
        yield name, Event(seq, str(i), "features", features)
        seq += 1
        late.append((name, str(i), label))
        if len(late) > delay:
            name, of, label = late.popleft()
            yield name, Event(seq, of, "label", label)
            seq += 1
    for name, of, label in late:
        yield name, Event(seq, of, "label", label)
        seq += 1


def write(events: Iterable[Keyed], folder: Path, n_in_file: int, settings: Mapping[str, Any]) -> None:
    """Write events into a new folder. If this is interrupted, the next call begins anew.

    Parameters
    ----------
    events
        Keys and events.
    folder
        Folder, which may hold a part of them.
    n_in_file
        Number of events in a file.
    settings
        What the events are; kept beside them.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    n, left = 0, iter(events)
    while some := list(islice(left, n_in_file)):
        lines = [json.dumps({"key": key, **event._asdict()}, separators=(",", ":")) for key, event in some]
        _put(folder / f"part-{n // n_in_file:06}.jsonl", "\n".join(lines) + "\n")
        n += len(lines)
    _put(folder / COMPLETE, json.dumps({**settings, "n_events": n}))


def about(folder: Path) -> dict[str, Any] | None:
    """Return the settings of the events of a folder and their number `n_events`, or `None` if they are not complete."""
    try:
        found: dict[str, Any] = json.loads((folder / COMPLETE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return found


def files_of(folder: Path) -> list[Path]:
    """Return the files of a folder, in order."""
    return sorted(folder.glob("part-*.jsonl"))


def read_line(line: str) -> Keyed:
    """Return the key and the event of a line."""
    fields = json.loads(line)
    return fields["key"], Event(fields["seq"], fields["id"], fields["kind"], fields["payload"])


def read(folder: Path) -> Iterator[Keyed]:
    """Yield the events of a folder, in order."""
    for file in files_of(folder):
        with file.open(encoding="utf-8") as lines:
            yield from map(read_line, lines)


def _put(file: Path, text: str) -> None:
    part = file.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    publish(part, file)


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: numpy's numbers as Python's, a missing one as `None`."""
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and math.isnan(value) else value
