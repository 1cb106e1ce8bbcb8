"""DriftMoE: an online mixture of experts for data streams that drift.

Public names are imported on first use, because importing torch and numba takes seconds, during which the command line
could not respond to Ctrl-C.
"""

TYPE_CHECKING = False  # as in `typing`, which takes longer to import than this package

if TYPE_CHECKING:
    from driftmoe.classifier import DriftMoEClassifier
    from driftmoe.saving import load, save

__all__ = ["DriftMoEClassifier", "load", "save"]
__version__: str

if not TYPE_CHECKING:  # otherwise a type checker would accept any name

    def __getattr__(name: str) -> object:
        """Import a public name, the version or a submodule on first use."""
        from importlib import import_module
        from importlib.metadata import version
        from importlib.util import find_spec

        if name == "__version__":
            found = version("driftmoe")
        elif name in __all__:
            module = "driftmoe.classifier" if name == "DriftMoEClassifier" else "driftmoe.saving"
            found = getattr(import_module(module), name)
        elif not name.startswith("_") and find_spec(f"driftmoe.{name}"):
            return import_module(f"driftmoe.{name}")
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = found
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__, "__version__"})
