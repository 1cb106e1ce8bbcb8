"""Names of the experiments, and of their variants: `lm-small`, `lm-large-cuda-bf16`, `adapt-6-dialects`."""

from __future__ import annotations

import re
from typing import NamedTuple

EXPERIMENTS = (
    "lm", "adapt", "drift-permutation", "drift-rotation", "drift-labels", "conflict-equal", "conflict-mean",
)  # fmt: skip
"""Names of all experiments, without their variants."""

SIZES = ("small", "medium", "large")
DEVICES = ("cpu", "cuda")
DTYPES = ("float32", "bf16")
MOST_DIALECTS = 6
"""There are so many orders of three labels."""

_LM = re.compile(r"lm(?:-(small|large))?(?:-(cuda))?(?:-(bf16))?")
_ADAPT = re.compile(rf"adapt(?:-([2-{MOST_DIALECTS}])-dialects)?")


class LanguageVariant(NamedTuple):
    """How an experiment `lm` is done: size of the transformer, device, and type of numbers in products."""

    size: str = "medium"
    device: str = "cpu"
    dtype: str = "float32"


def language_variant(name: str) -> LanguageVariant:
    """Return the variant of `lm` that a name tells."""
    found = _LM.fullmatch(name)
    if found is None:
        raise ValueError(
            f"unknown variant {name!r} of lm; available: lm, lm-small, lm-large, and each with -cuda, -bf16 or "
            "-cuda-bf16"
        )
    default = LanguageVariant()
    return LanguageVariant(*(told or usual for told, usual in zip(found.groups(), default, strict=True)))


def n_dialects(name: str) -> int:
    """Return the number of dialects that a name of `adapt` tells."""
    found = _ADAPT.fullmatch(name)
    if found is None:
        raise ValueError(
            f"unknown variant {name!r} of adapt; available: adapt, and adapt-2-dialects to "
            f"adapt-{MOST_DIALECTS}-dialects"
        )
    return int(found[1] or 1)


def names_of(
    experiment: str,
    *,
    size: str = "medium",
    device: str = "cpu",
    dtype: str = "float32",
    dialects: int = 1,
) -> list[str]:
    """Return the full names of an experiment's runs.

    Raises
    ------
    ValueError
        If the experiment is unknown, or has no such variant.
    """
    for option, value, allowed in (
        ("size", size, SIZES), ("device", device, DEVICES), ("dtype", dtype, DTYPES),
    ):  # fmt: skip
        if value not in allowed:
            raise ValueError(f"{option}={value!r}; available: {', '.join(allowed)}")
    if not 1 <= dialects <= MOST_DIALECTS:
        raise ValueError(
            f"dialects={dialects}; choose 1 <= dialects <= {MOST_DIALECTS}, the orders of three labels"
        )
    if experiment != "lm" and (size, device, dtype) != LanguageVariant():
        raise ValueError(f"size, device and dtype are of lm, and not of {experiment}; leave them out")
    if experiment != "adapt" and dialects > 1:
        raise ValueError(f"dialects={dialects} is of adapt, and not of {experiment}; leave it out")
    if experiment == "lm":
        parts = [
            value
            for value, usual in zip((size, device, dtype), LanguageVariant(), strict=True)
            if value != usual
        ]
        return ["-".join(["lm", *parts])]
    if experiment == "adapt" and dialects > 1:
        return [f"adapt-{dialects}-dialects"]
    found = [full for full in EXPERIMENTS if full.partition("-")[0] == experiment]
    if not found and is_known(experiment):
        found = [experiment]
    if not found:
        raise ValueError(f"unknown experiment {experiment!r}; available: lm, adapt, drift, conflict")
    return found


def is_known(name: str) -> bool:
    """Return whether an experiment or a variant of one has this name."""
    return name in EXPERIMENTS or bool(_LM.fullmatch(name) or _ADAPT.fullmatch(name))
