"""DriftMoE: an online mixture of experts for data streams that drift."""

from __future__ import annotations

TYPE_CHECKING = False  # as typing's, whose import would take a while; see `driftmoe.__main__`
if TYPE_CHECKING:
    from typing import Any

    from driftmoe.classifier import DriftMoEClassifier

    __version__: str

__all__ = ["DriftMoEClassifier", "__version__"]


def __getattr__(name: str) -> Any:
    """Import what is asked for: the libraries beneath take seconds, in which the command line must hear Ctrl-C."""
    value: Any
    if name == "DriftMoEClassifier":
        from driftmoe import classifier

        value = classifier.DriftMoEClassifier
    elif name == "__version__":
        from importlib.metadata import version

        value = version("driftmoe")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
