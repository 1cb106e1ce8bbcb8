"""What happens to models while things fail; `python -m benchmarks.faults` prints a table.

`learning` disturbs learning, `saving` the saving of models, `damage` spoils files, and `refusals` gives models what
they may not take. Their functions return how often a fault was tried, and how often it did harm.
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
