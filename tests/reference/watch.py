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
        self.end_rise()

    def end_rise(self):
        self.product, self.errors, self.votes = 1.0, [], {}

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
        if self.n_averaged >= 300:
            self.bet(errors, error, votes)
        self.n_averaged += 1
        for name, value in errors.items():
            self.rates[name] += (value - self.rates[name]) / min(self.n_averaged, 5000)
        for e, vote in enumerate(votes):
            if vote is not None:
                rate, n = self.experts.get(e, (0.0, 0))
                n = min(n + 1, 5000)
                self.experts[e] = rate + (vote - rate) / n, n

    def bet(self, errors, error, votes):
        wealth = 0.0
        for name, value in errors.items():
            for o, factor in self.factors(name, value):
                self.wealth[name, o] = (self.wealth[name, o] + 1) * factor
                wealth += self.wealth[name, o] / 8
                self.product *= factor if o == 2.5 else 1
        if self.product <= 1:
            self.end_rise()
        else:
            self.errors.append(error)
            for e, vote in enumerate(votes):
                if vote is not None:
                    self.votes.setdefault(e, []).append(vote)
        is_drift = wealth > 100_000
        if is_drift or (wealth > 10_000 and not self.is_warned):
            since = self.n - max(len(self.errors) - 1, 0)
            after = sum(self.errors) / len(self.errors) if self.errors else error
            named = self.risen() if is_drift else []
            self.events.append(
                ("drift" if is_drift else "warning", self.n, since, self.rates["mixture"], after, named)
            )
            self.is_warned = True
        elif wealth < 1000:
            self.is_warned = False
        if is_drift:
            self.start_anew()

    def risen(self):
        scores = {}
        for e, votes in self.votes.items():
            before = self.experts.get(e, (0.0, 0))[0]
            after = sum(votes) / len(votes)
            scores[e] = (after - before) / math.sqrt((before * (1 - before) + 1 / 5000) / len(votes))
        best = sorted((e for e in scores if scores[e] > 3), key=lambda e: -scores[e])[:3]
        return [(e, self.experts[e][0], sum(self.votes[e]) / len(self.votes[e])) for e in best]
