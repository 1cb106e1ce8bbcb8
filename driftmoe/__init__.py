"""DriftMoE: an online mixture of experts for data streams that drift.

What it offers is imported when it is first asked for: torch and numba take seconds, in which the command line could not
answer Ctrl-C otherwise.
"""

TYPE_CHECKING = False  # as `typing` has it, of which the import takes longer than this package's

if TYPE_CHECKING:
    from driftmoe.classifier import DriftMoEClassifier

__all__ = ["DriftMoEClassifier"]
__version__: str

if not TYPE_CHECKING:  # or a checker would take any name for one that is there

    def __getattr__(name: str) -> object:
        """Import what the package offers, its version or one of its modules, when it is first asked for."""
        from importlib import import_module
        from importlib.metadata import version
        from importlib.util import find_spec

        if name == "__version__":
            found = version("driftmoe")
        elif name in __all__:
            found = getattr(import_module("driftmoe.classifier"), name)
        elif not name.startswith("_") and find_spec(f"driftmoe.{name}"):
            return import_module(f"driftmoe.{name}")
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = found
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__, "__version__"})
