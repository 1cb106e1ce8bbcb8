"""What happens to models while things fail; `python -m benchmarks.faults` prints a table.

`learning` disturbs learning, `saving` the saving of models, and `damage` spoils files. Their functions return how often
a fault was tried, and how often it did harm.
"""

from benchmarks.faults.learning import (
    ALLOCATING,
    MODELS,
    Alarm,
    AlarmError,
    digest,
    growing,
    interrupted,
    interrupted_blocks,
    shared,
    starved,
    stopped,
    stopped_block,
)

__all__ = [
    "ALLOCATING",
    "MODELS",
    "Alarm",
    "AlarmError",
    "digest",
    "growing",
    "interrupted",
    "interrupted_blocks",
    "shared",
    "starved",
    "stopped",
    "stopped_block",
]
