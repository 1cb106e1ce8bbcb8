"""Reports on result lines: tables, pictures, and a page that compares models over streams.

The comparison follows Demšar (2006), with a mean per stream and model, ranks within each stream, the Friedman test and
Nemenyi's critical difference, and Benavoli et al. (2017), with the Bayesian signed-rank test. Only streams with a
result of every model are averaged, ranked and tested. The page lists those that are left out.

`contents` makes the sections of a report, `pages` writes them, and `results` selects the result lines to compare.
"""

from __future__ import annotations

from driftmoe.report.comparisons import COMPARED, ENOUGH_STREAMS, comparison_grid
from driftmoe.report.conflict import conflict_figure
from driftmoe.report.contents import sections
from driftmoe.report.curves import METRICS, plot_windows, windows_figure
from driftmoe.report.expert_use import experts_figure, save_neural
from driftmoe.report.figures import frontier, neural_figure
from driftmoe.report.importances import importances_figure
from driftmoe.report.layout import WIDTH, fitted
from driftmoe.report.pages import markdown, page, write
from driftmoe.report.parts import NOTHING, Command, Grid, Part, Picture, Section, counted
from driftmoe.report.results import (
    by_model,
    counting,
    lateness,
    left_out,
    of_models,
    ordering,
    reading,
    usable,
)
from driftmoe.report.routing_plot import routing_figure
from driftmoe.report.statistics import (
    ROPE,
    SIGNIFICANCE,
    comparison,
    critical_difference,
    friedman,
    holm,
    mean_ranks,
    probably_better,
    wilcoxon_holm,
)
from driftmoe.report.stream_plot import stream_figure, window_means
from driftmoe.report.style import (
    AREAS,
    LINES,
    STYLES,
    add_legend,
    drawn_as,
    label_ends,
    label_points,
    looks_of,
    mark_drifts,
    save_figure,
)
from driftmoe.report.tables import (
    FIGURES,
    MORE_FIGURES,
    NEURAL,
    NEURAL_NOTE,
    ROUTING,
    ROUTING_NOTE,
    as_table,
    checked_columns,
    neural_grid,
    neural_note,
    routing_table,
    table,
)

__all__ = [
    "AREAS",
    "COMPARED",
    "ENOUGH_STREAMS",
    "FIGURES",
    "LINES",
    "METRICS",
    "MORE_FIGURES",
    "NEURAL",
    "NEURAL_NOTE",
    "NOTHING",
    "ROPE",
    "ROUTING",
    "ROUTING_NOTE",
    "SIGNIFICANCE",
    "STYLES",
    "WIDTH",
    "Command",
    "Grid",
    "Part",
    "Picture",
    "Section",
    "add_legend",
    "as_table",
    "by_model",
    "checked_columns",
    "comparison",
    "comparison_grid",
    "conflict_figure",
    "counted",
    "counting",
    "critical_difference",
    "drawn_as",
    "experts_figure",
    "fitted",
    "friedman",
    "frontier",
    "holm",
    "importances_figure",
    "label_ends",
    "label_points",
    "lateness",
    "left_out",
    "looks_of",
    "mark_drifts",
    "markdown",
    "mean_ranks",
    "neural_figure",
    "neural_grid",
    "neural_note",
    "of_models",
    "ordering",
    "page",
    "plot_windows",
    "probably_better",
    "reading",
    "routing_figure",
    "routing_table",
    "save_figure",
    "save_neural",
    "sections",
    "stream_figure",
    "table",
    "usable",
    "wilcoxon_holm",
    "window_means",
    "windows_figure",
    "write",
]
