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

STANDARD = ("accuracy", "kappa", "kappa_m", "kappa_t", "f1_macro", "g_mean")
"""`driftmoe.metrics.STANDARD`."""

METRICS = (
    "balanced_accuracy",
    "brier",
    "ece",
    "f1",
    "f_beta",
    "geometric_mean",
    "jaccard",
    "log_loss",
    "macro_f_beta",
    "macro_jaccard",
    "macro_precision",
    "macro_recall",
    "mcc",
    "micro_f1",
    "micro_f_beta",
    "micro_jaccard",
    "micro_precision",
    "micro_recall",
    "multi_f_beta",
    "pr_auc",
    "precision",
    "recall",
    "roc_auc",
    "rolling_roc_auc",
    "weighted_f1",
    "weighted_f_beta",
    "weighted_jaccard",
    "weighted_precision",
    "weighted_recall",
)
"""Keys of `driftmoe.metrics.NAMED`."""

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

DESCRIPTIONS = {
    "driftmoe": "Adaptive mixture of trees, memories, linear models and a network; the default.",
    "moe-vote": "Mixture of trees: those that the router trusts most learn a sample and vote on it.",
    "moe-data": "MoE-Data of the paper: the tree that the router trusts most answers.",
    "moe-task": "MoE-Task of the paper: a tree for each class.",
    "neural": "Mixture of neural networks.",
    "arf": "Adaptive random forest (river).",
    "srp": "Streaming random patches (river).",
    "levbag": "Leveraging bagging of Hoeffding trees (river).",
    "ozabag": "Online bagging of Hoeffding trees (river).",
    "ozaboost": "Online boosting of Hoeffding trees (river).",
    "adwinbag": "Online bagging with ADWIN (river).",
    "adwinboost": "Online boosting with ADWIN (river).",
    "ht": "Hoeffding tree (river).",
    "hat": "Hoeffding adaptive tree (river).",
    "efdt": "Extremely fast decision tree (river).",
    "amf": "Aggregated Mondrian forest, on the numeric features (river).",
    "nb": "Gaussian naive Bayes, on the numeric features (river).",
    "nochange": "Predicts the last label (river).",
    "majority": "Predicts the most frequent label so far (river).",
    "moa-arf": "Adaptive random forest (MOA; needs CapyMOA and Java, as all below, and takes CapyMOA's arguments).",
    "moa-srp": "Streaming random patches (MOA).",
    "moa-levbag": "Leveraging bagging (MOA).",
    "moa-ozabag": "Online bagging (MOA).",
    "moa-ozaboost": "Online boosting (MOA).",
    "moa-smoothboost": "Online smooth boosting (MOA).",
    "moa-sgbt": "Streaming gradient boosted trees (MOA).",
    "moa-ht": "Hoeffding tree (MOA).",
    "moa-hat": "Hoeffding adaptive tree (MOA).",
    "moa-samknn": "Nearest neighbours with a self-adjusting memory (MOA).",
}
"""Model -> what it is."""
