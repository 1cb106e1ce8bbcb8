"""Twin of the drift detector: `driftmoe/mixture/watch.py`."""

from __future__ import annotations

import math

ODDS = (1.25, 1.5, 2.5, 5.0)


class SlowWatch:
    """The detector, given whether the mixture and each expert were wrong; an expert without a vote says `None`."""

    def __init__(self, n_main):
        self.n_main = n_main
        self.n = 0
        self.events = []
        self.start_anew()

    def start_anew(self):
        self.n_averaged = 0
        self.rates = {"mixture": 0.0, "experts": 0.0}
        self.wealth = {(name, o): 0.0 for name in self.rates for o in ODDS}
        self.is_warned = False
        self.experts = {}  # expert -> error rate, votes behind it
        self.products = dict.fromkeys(self.wealth, 1.0)
        self.rises = {}  # bet whose product rises -> sample, rate and experts at its start
        self.history = []  # error and votes of each sample

    def factors(self, name, error):
        rate = self.rates[name]
        n = min(self.n_averaged, 5000)
        q = rate + 0.5 * math.sqrt((rate * (1 - rate) + 1 / 5000) / n)
        for o in ODDS:
            p = o * q / (1 - q + o * q)  # odds of p are o times those of q
            yield o, 1 + (p - q) / (q * (1 - q)) * (error - q)

    def update(self, error, votes):
        self.n += 1
        main = [vote for vote in votes[: self.n_main] if vote is not None]
        errors = {"mixture": error} | ({"experts": sum(main) / len(main)} if main else {})
        self.history.append((error, votes))
        if self.n_averaged >= 300:
            self.bet(errors, error, votes)
        self.n_averaged += 1
        for name, value in errors.items():
            self.rates[name] += (value - self.rates[name]) / min(self.n_averaged, 5000)
        for e, vote in enumerate(votes):
            if vote is not None:
                rate, n = self.experts.get(e, (0.0, 0))
                self.experts[e] = rate + (vote - rate) / min(n + 1, 5000), n + 1

    def bet(self, errors, error, votes):
        wealth = 0.0
        for name, value in errors.items():
            for o, factor in self.factors(name, value):
                self.wealth[name, o] = (self.wealth[name, o] + 1) * factor
                wealth += self.wealth[name, o] / 8
                self.products[name, o] = max(self.products[name, o] * factor, 1.0)
        for bet, product in self.products.items():
            if product == 1:
                self.rises.pop(bet, None)
            else:
                self.rises.setdefault(bet, (self.n, self.rates["mixture"], dict(self.experts)))
        is_drift = wealth > 100_000
        if is_drift or (wealth > 10_000 and not self.is_warned):
            richest = max(self.rises, key=self.wealth.__getitem__)
            since, before, experts = self.rises[richest]
            rows = self.history[since - self.n - 1 :]
            after = sum(error for error, _ in rows) / len(rows)
            named = self.risen(rows, experts) if is_drift else []
            self.events.append(
                ("drift" if is_drift else "warning", self.n, since, len(rows), before, after, named)
            )
            self.is_warned = True
        elif wealth < 1000:
            self.is_warned = False
        if is_drift:
            self.start_anew()
            self.history = [(error, votes)]

    def risen(self, rows, experts):
        found = []
        for e, (before, n_before) in experts.items():
            votes = [votes[e] for _, votes in rows if votes[e] is not None]
            if n_before >= 100 and votes:
                after = sum(votes) / len(votes)
                score = (after - before) / math.sqrt((before * (1 - before) + 1 / 5000) / len(votes))
                found.append((score, (e, len(votes), before, after)))
        found.sort(key=lambda one: -one[0])
        return [named for score, named in found if score > 3][:3]
