"""Twins of drift monitors and adaptive trees: `driftmoe/trees/adwin.py`, `driftmoe/trees/steps.py`."""

from __future__ import annotations

import math


class Adwin:
    """ADWIN of Bifet & Gavaldà 2007 with river's settings; `rows[i]` holds (sum, squared deviations) of 2^i values."""

    def __init__(self, delta):
        self.delta = delta
        self.start()

    def start(self):
        self.rows, self.n_seen, self.drift_detected = [[]], 0, False
        self.width, self.total, self.variance = 0, 0.0, 0.0

    @property
    def mean(self):
        return self.total / self.width if self.width else 0.0

    def update(self, value):
        if self.drift_detected:
            self.start()
        if self.width:
            self.variance += self.width * (value - self.mean) ** 2 / (self.width + 1)
        self.width += 1
        self.total += value
        self.rows[0].append((value, 0.0))
        for i, row in enumerate(self.rows):
            if len(row) > 5:
                (t, v), (u, w) = row.pop(0), row.pop(0)
                if i + 1 == len(self.rows):
                    self.rows.append([])
                self.rows[i + 1].append((t + u, v + w + 2**i * (t / 2**i - u / 2**i) ** 2 / 2))
        self.n_seen += 1
        if self.n_seen % 32 == 0 and self.width > 10:
            while self.has_cut():
                self.drop_oldest()
                self.drift_detected = True
        return self.drift_detected

    def drop_oldest(self):
        n, (total, variance) = 2 ** (len(self.rows) - 1), self.rows[-1].pop(0)
        self.width -= n
        self.total -= total
        self.variance -= variance + n * self.width * (total / n - self.mean) ** 2 / (n + self.width)
        if not self.rows[-1]:
            self.rows.pop()

    def has_cut(self):
        log_term = math.log(2.0 * math.log(self.width) / self.delta)
        n, total = 0, 0.0
        for i, row in reversed(list(enumerate(self.rows))):
            for t, _ in row:
                n, total = n + 2**i, total + t
                rest = self.width - n
                if n < 5 or rest < 5:
                    continue
                inverse = 1.0 / (n - 4) + 1.0 / (rest - 4)
                bound = math.sqrt(2.0 * inverse * self.variance / self.width * log_term)
                if abs(total / n - (self.total - total) / rest) > bound + 2.0 / 3.0 * log_term * inverse:
                    return True
        return False

    def has_risen(self, value):
        before = self.mean
        return self.update(value) and self.mean > before


class AdaptiveTree:
    """A tree of an adaptive random forest (Gomes et al. 2017, algorithm 1) with one in the background."""

    def __init__(self, start_tree, warning_delta, drift_delta):
        self.start_tree, self.deltas = start_tree, (warning_delta, drift_delta)
        self.tree, self.background = start_tree(), None
        self.warning, self.drift = Adwin(warning_delta), Adwin(drift_delta)
        self.n_warnings = self.n_replaced = 0

    def predict_proba(self, x):
        return self.tree.predict_proba(x)

    def learn(self, x, c, w):
        if w == 0.0:
            return
        proba = self.tree.predict_proba(x)
        is_wrong = max(proba) == 0.0 or proba.index(max(proba)) != c
        self.tree.learn(x, c, w)
        if self.background:
            self.background.learn(x, c, w)
        is_warning, is_drift = self.warning.has_risen(is_wrong), self.drift.has_risen(is_wrong)
        if is_drift:
            self.tree, self.background = self.background or self.start_tree(), None
            self.warning, self.drift = map(Adwin, self.deltas)
            self.n_replaced += 1
        elif is_warning:
            self.background, self.warning = self.start_tree(), Adwin(self.deltas[0])
            self.n_warnings += 1
