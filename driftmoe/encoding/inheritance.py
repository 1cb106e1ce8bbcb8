"""An encoder that starts with the names of another: features, nominal values and classes, in the same order.

The vectors of the other encoder are then the first columns of its own, so that a model can ask another one by vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from driftmoe.encoding.encoder import Encoder
from driftmoe.encoding.samples import short
from driftmoe.encoding.scaling import COUNT, NOMINAL


def inherit(encoder: Encoder, known: Encoder) -> None:
    """Let an encoder that knows nothing yet start with the names of another. It has seen no number to scale by.

    Raises
    ------
    ValueError
        If the encoder has a bound that is less than what the other one knows, or takes other numbers for codes.
    """
    for what, names, bound in (
        ("features", known.features, encoder.max_features),
        ("classes", known.classes, encoder.max_classes),
    ):
        if bound is not None and len(names) > bound:
            raise ValueError(
                f"max_{what}={bound} but the prior knows {len(names)} {what}, which a model with this prior knows from "
                f"the start; choose max_{what} >= {len(names)}"
            )
    state = known.state()
    listed = dict(zip(known.features, state["nominal_values"], strict=True))
    for name in known.features:
        is_code = listed[name] is not None
        if known.kinds[name] == "number" and is_code != (name in encoder._nominal):
            takes = ("a code", "a number") if is_code else ("a number", "a code")
            raise ValueError(
                f"the prior takes the feature {short(name)} for {takes[0]}, and the experts for {takes[1]}; give both "
                "the same nominal_attributes"
            )
    moments = np.zeros((3, len(known.features)))
    moments[COUNT, known.nominal_columns] = NOMINAL
    own = encoder.state()
    names_only = {
        name: state[name]
        for name in ("features", "feature_kinds", "nominal_values", "classes", "input_indices")
    }
    encoder.restore(own | names_only | {"scaling_moments": moments})


def check_inherited(encoder: Encoder, known: Encoder) -> None:
    """Raise ValueError unless an encoder starts with the names of another."""
    if not (
        _starts_with(encoder.features, known.features)
        and _starts_with(encoder.classes, known.classes)
        and all(
            (of is None) == (others is None) and (of is None or others is None or _starts_with(of, others))
            for of, others in zip(encoder.values, known.values, strict=False)
        )
    ):
        raise ValueError(
            "the state of the encoder does not start with the features, values and classes of the prior; it is not "
            "that of a model with this prior"
        )


def _starts_with(names: Sequence[Any], first: Sequence[Any]) -> bool:
    return list(names[: len(first)]) == list(first)
