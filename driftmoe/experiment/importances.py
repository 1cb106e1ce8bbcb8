"""Importances of features in result lines: those of the trained model at the end of a run."""

from __future__ import annotations

import warnings
from typing import Any

from driftmoe.classifier import DriftMoEClassifier
from driftmoe.evaluation import last_step

MOST_NAMED = 30
"""Features that a result line names, the most important ones."""

N_REPEATS, WIDE = 5, 100
"""How often each feature is shuffled. Once, if there are more than `WIDE` features, or an expert predicts sample by
sample: so it takes about a second at most, and a tenth with ten features."""


def importances_of(model: Any) -> dict[str, float]:
    """Return {feature: importance} of the most important features, the largest first. Changes nothing.

    Parameters
    ----------
    model
        A trained model. In a pipeline, features are those of its last step.

    Returns
    -------
    importances
        As `DriftMoEClassifier.feature_importances` describes them. Empty for other models, for one that has learnt too
        little, and for one with `records=False`. Of two features with the same text, the more important one.
    """
    ours = last_step(model)
    if not isinstance(ours, DriftMoEClassifier) or not ours._recent.is_kept:
        return {}
    is_slow = ours._mixture.reads_samples or len(ours._encoder.features) > WIDE
    with warnings.catch_warnings():
        # It says that there is no time for all of the features, which are more than `MOST_NAMED`.
        warnings.simplefilter("ignore", UserWarning)
        found = ours.feature_importances(n_repeats=1 if is_slow else N_REPEATS)
    told: dict[str, float] = {}
    for name, (importance, _) in found.items():
        told.setdefault(str(name), importance)
    return dict(list(told.items())[:MOST_NAMED])
