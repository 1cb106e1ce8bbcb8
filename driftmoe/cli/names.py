"""Names that help texts and completion list. The modules that give them their meaning take seconds to import."""

from __future__ import annotations

MODELS = (
    "driftmoe",
    "moe-vote",
    "moe-data",
    "moe-task",
    "neural",
    "arf",
    "srp",
    "levbag",
    "ozabag",
    "ozaboost",
    "adwinbag",
    "adwinboost",
    "ht",
    "hat",
    "efdt",
    "amf",
    "nb",
    "nochange",
    "majority",
    "moa-arf",
    "moa-srp",
    "moa-levbag",
    "moa-ozabag",
    "moa-ozaboost",
    "moa-smoothboost",
    "moa-sgbt",
    "moa-ht",
    "moa-hat",
    "moa-samknn",
)
"""Keys of `driftmoe.models.MODELS`."""

POLICIES = (
    "Dense",
    "TopK",
    "TopP",
    "EntropyHybrid",
    "GroupTopK",
    "WithNull",
    "WithShared",
    "Scheduled",
    "LinearK",
)
"""Keys of `driftmoe.models.POLICIES`."""

PRESETS = (
    "DYNMOLE",
    "HARDER_TASKS",
    "ADAMOE",
    "STREAM",
)
"""Keys of `driftmoe.models.PRESETS`."""

SETUPS = (
    "plain",
    "Dense",
    "TopK(1, renorm=False)",
    "TopK(2)",
    "HARDER_TASKS",
    "DYNMOLE",
    "ADAMOE",
    "frozen",
)
"""`driftmoe.neural.SETUPS`."""

WRITTEN = (
    ".csv",
    ".csv.gz",
    ".arff",
    ".arff.gz",
    ".parquet",
)
"""Endings of files that `streams.export` writes."""

READ = (
    ".csv",
    ".csv.gz",
    ".csv.zip",
    ".csv.bz2",
    ".csv.xz",
    ".tsv",
    ".tsv.gz",
    ".tsv.zip",
    ".tsv.bz2",
    ".tsv.xz",
    ".txt",
    ".txt.gz",
    ".txt.zip",
    ".txt.bz2",
    ".txt.xz",
    ".data",
    ".data.gz",
    ".data.zip",
    ".data.bz2",
    ".data.xz",
    ".arff",
    ".arff.gz",
    ".arff.zip",
    ".arff.bz2",
    ".arff.xz",
    ".jsonl",
    ".jsonl.gz",
    ".jsonl.zip",
    ".jsonl.bz2",
    ".jsonl.xz",
    ".ndjson",
    ".ndjson.gz",
    ".ndjson.zip",
    ".ndjson.bz2",
    ".ndjson.xz",
    ".parquet",
    ".pq",
    ".arrow",
    ".feather",
    ".gz",
    ".zip",
    ".bz2",
    ".xz",
)
"""Endings of files that `streams.files` reads."""
