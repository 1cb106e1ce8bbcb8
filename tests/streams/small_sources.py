"""Small files in the place of the real ones."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from dataclasses import replace

from streams import real

FOLDER = "scikit-multiflow-0.4.1/src/skmultiflow/data/datasets"
ARCHIVED = ("electricity", "weather", "covtype")


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def know(monkeypatch, name, data, **changes):
    """Make `data` the known content of a source."""
    source = replace(real.SOURCES[name], sha256=sha256(data), **changes)
    monkeypatch.setitem(real.SOURCES, name, source)


def shrink(monkeypatch, name, n_samples, n_classes=None):
    """Let a source without a known SHA-256 be as small as a test's copy of it."""
    source = replace(real.SOURCES[name], n_samples=n_samples, n_classes=n_classes, n_bytes=None)
    monkeypatch.setitem(real.SOURCES, name, source)


def small_csv(n_features, rows):
    names = [f"f{i}" for i in range(n_features)] + ["target"]
    lines = [",".join(map(str, [*x, y])) for x, y in rows]
    return ("\n".join([",".join(names), *lines]) + "\n").encode()


SMALL = {
    "electricity": small_csv(2, [((0.5, 0.25), 1), ((0.1, 0.75), 0), ((0.3, 0.5), 0)]),
    "weather": small_csv(1, [((3,), 0), ((4,), 1)]),
    "covtype": small_csv(1, [((2596,), 5)]),
}


def members():
    return {f"{FOLDER}/{real.SOURCES[name].file}": SMALL[name] for name in ARCHIVED}


def write_tar(path, contents):
    with tarfile.open(path, "w:gz") as tar:
        for name, data in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def write_zip(path, contents):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
    return path


def files_in(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def page(body, length=None):
    return 200, {"Content-Length": str(len(body) if length is None else length)}, body


AIRLINES = b"""@relation airlines
@attribute Airline {CO,US,'AA'}
@attribute Flight numeric
@attribute AirportFrom {SFO,PHX,LAX}
@attribute AirportTo {IAH,CLT,DFW}
@attribute DayOfWeek {1,2,3,4,5,6,7}
@attribute Time numeric
@attribute Length numeric
@attribute Delay {0,1}
@data
CO,269.0,SFO,IAH,3,15.0,205.0,1
US,1558.0,PHX,CLT,3,15.0,222.0,0
AA,2400.0,LAX,DFW,7,20.0,165.0,1
"""


def locate(monkeypatch, name, *urls):
    monkeypatch.setitem(real.SOURCES, name, replace(real.SOURCES[name], urls=urls))
