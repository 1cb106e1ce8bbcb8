"""Experiments that train mixtures of neural experts with different routing policies: `driftmoe neural NAME`."""

from driftmoe.neural.planning import planned_training
from driftmoe.neural.runs import N_POINTS, NeuralRun, open_experiment
from driftmoe.neural.setups import CONFLICT_SETUPS, SETUPS, Setup, check_setup
from driftmoe.neural.variants import EXPERIMENTS

__all__ = [
    "CONFLICT_SETUPS",
    "EXPERIMENTS",
    "N_POINTS",
    "SETUPS",
    "NeuralRun",
    "Setup",
    "check_setup",
    "open_experiment",
    "planned_training",
]
