"""ADWIN, a window over a stream of numbers that drops its older part once the two differ in mean.

Bifet & Gavaldà 2007, Learning from time-changing data with adaptive windowing, section 4: the window is an exponential
histogram. Row i holds up to five buckets of 2^i values each; when a sixth is added, the two oldest are merged into one
bucket of the next row. Its decisions equal those of river's `drift.ADWIN` with default settings, bit for bit: it looks
for a cut only at every 32nd value, and empties the window before the first value after a reported change.
"""

from __future__ import annotations

import math

import numpy as np

from driftmoe.arithmetic import log, power_of_two
from driftmoe.compilation import kernel

CLOCK = 32  # values between two looks for a cut
MAX_BUCKETS = 5
MIN_PART = 5.0  # values on each side of a cut
GRACE_PERIOD = 10.0  # values before the first look
N_ROWS = 40  # 5 · 2^40 values

WINDOW = np.dtype(
    [
        # Number, sum, and sum of squared deviations of the values in the window.
        ("width", np.float64),
        ("total", np.float64),
        ("variance", np.float64),
        # Values since it began.
        ("tick", np.int64),
        ("n_rows", np.int32),
        # 1 if the last value made it drop its older part.
        ("drift_detected", np.int32),
        # Buckets of each row, oldest first: how many, and their sums as above.
        ("n_buckets", np.int32, (N_ROWS,)),
        ("totals", np.float64, (N_ROWS, MAX_BUCKETS + 1)),
        ("variances", np.float64, (N_ROWS, MAX_BUCKETS + 1)),
    ],
    align=True,
)
"""A window; one of zeros is empty."""


@kernel
def restart(window):
    """Empty the window."""
    window["width"] = 0.0
    window["total"] = 0.0
    window["variance"] = 0.0
    window["tick"] = 0
    window["n_rows"] = 0
    window["drift_detected"] = 0
    for row in range(N_ROWS):
        window["n_buckets"][row] = 0


@kernel
def estimate(window):
    """Return the mean of the window, 0 if it is empty."""
    return window["total"] / window["width"] if window["width"] > 0.0 else 0.0


@kernel
def update(window, delta, value):
    """Add a value, and return whether the window dropped its older part; `delta` is the risk of a false alarm."""
    if window["drift_detected"] == 1:
        restart(window)
    window["width"] += 1.0
    if window["width"] > 1.0:
        gap = value - window["total"] / (window["width"] - 1.0)
        window["variance"] += (window["width"] - 1.0) * gap * gap / window["width"]
    window["total"] += value
    append(window, 0, value, 0.0)
    merge_full_rows(window)
    window["tick"] += 1
    if window["tick"] % CLOCK == 0 and window["width"] > GRACE_PERIOD:
        while has_cut(window, delta):
            drop_oldest(window)
            window["drift_detected"] = 1
    return window["drift_detected"] == 1


@kernel
def append(window, row, total, variance):
    """Add a bucket to a row."""
    n = window["n_buckets"][row]
    window["totals"][row, n] = total
    window["variances"][row, n] = variance
    window["n_buckets"][row] = n + 1
    window["n_rows"] = max(window["n_rows"], row + 1)


@kernel
def remove(window, row, n):
    """Remove the `n` oldest buckets of a row."""
    window["n_buckets"][row] -= n
    for i in range(window["n_buckets"][row]):
        window["totals"][row, i] = window["totals"][row, i + n]
        window["variances"][row, i] = window["variances"][row, i + n]


@kernel
def merge_full_rows(window):
    """Merge the two oldest buckets of each row that has too many into one bucket of the next row."""
    row = 0
    while window["n_buckets"][row] > MAX_BUCKETS:
        totals, variances = window["totals"][row], window["variances"][row]
        n = power_of_two(row)
        gap = totals[0] / n - totals[1] / n
        append(window, row + 1, totals[0] + totals[1], variances[0] + variances[1] + n * 0.5 * gap * gap)
        remove(window, np.int64(row), np.int64(2))
        row += 1


@kernel
def drop_oldest(window):
    """Forget the oldest bucket."""
    row = window["n_rows"] - 1
    n = power_of_two(row)
    total = window["totals"][row, 0]
    window["width"] -= n
    window["total"] -= total
    gap = total / n - window["total"] / window["width"]
    window["variance"] -= window["variances"][row, 0] + n * window["width"] * gap * gap / (
        n + window["width"]
    )
    remove(window, np.int64(row), np.int64(1))
    if window["n_buckets"][row] == 0:
        window["n_rows"] = row


@kernel
def has_cut(window, delta):
    """Whether the means on both sides of some cut differ by more than the bound of section 3.2, equation 3.1."""
    log_term = log(2.0 * log(window["width"]) / delta)
    spread = window["variance"] / window["width"]
    n_old, n_new = 0.0, window["width"]
    total_old, total_new = 0.0, window["total"]
    for row in range(window["n_rows"] - 1, -1, -1):
        n = power_of_two(row)
        for i in range(window["n_buckets"][row]):
            n_old += n
            n_new -= n
            total_old += window["totals"][row, i]
            total_new -= window["totals"][row, i]
            if n_old < MIN_PART or n_new < MIN_PART:
                continue
            m = 1.0 / (n_old - MIN_PART + 1.0) + 1.0 / (n_new - MIN_PART + 1.0)
            bound = math.sqrt(2.0 * m * spread * log_term) + 2.0 / 3.0 * log_term * m
            if abs(total_old / n_old - total_new / n_new) > bound:
                return True
    return False
