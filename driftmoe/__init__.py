"""DriftMoE: an online mixture of experts for data streams that drift."""

from importlib.metadata import version

from driftmoe.classifier import DriftMoEClassifier

__all__ = ["DriftMoEClassifier"]
__version__ = version("driftmoe")
