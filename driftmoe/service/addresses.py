"""Addresses of files and of brokers, such as `redis://host/stream`."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import url2pathname

from driftmoe.extras import install

BROKERS = ("redis", "rediss", "nats", "tls", "kafka")
"""Schemes of the addresses of brokers."""


def scheme_of(url: str) -> str:
    """Return the scheme of an address, empty for the path of a file."""
    return urlsplit(url).scheme if "://" in url else ""


def parted(url: str, what: str) -> tuple[str, str]:
    """Return the address of a server, and the name of what is meant there.

    Parameters
    ----------
    url
        Address of a server, and one name after it.
    what
        What the name stands for, such as `"stream"`.

    Raises
    ------
    ValueError
        If the address has no server, or not exactly one name. The message holds no password.
    """
    parts = urlsplit(url)
    names = [name for name in parts.path.split("/") if name]
    if len(names) != 1 or not parts.netloc:
        raise ValueError(
            f"{without_secrets(url)!r} must name a server and one {what}, as in {parts.scheme}://localhost/{what}"
        )
    return urlunsplit((parts.scheme, parts.netloc, "", parts.query, "")), unquote(names[0])


def path_of(url: str) -> Path:
    """Return the path of a file that is given as such, or by a `file://` address."""
    parts = urlsplit(url)
    if scheme_of(url) != "file":
        return Path(url)
    if parts.netloc not in ("", "localhost"):
        raise ValueError(
            f"{without_secrets(url)!r} names a machine; give three slashes before the path: file:///..."
        )
    return Path(url2pathname(parts.path))


def without_secrets(url: str) -> str:
    """Return an address without user, password and settings."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def needed(package: str, extra: str) -> ImportError:
    """Return the error of a client package that is not installed."""
    return ImportError(f"{package} is not installed; run: {install(extra)}")
