"""Twin of the kernels that answer for recorded votes: `benchmarks/beyond_kernels.py`, `benchmarks/pool_kernels.py`."""

from __future__ import annotations

import numpy as np

FLOOR = 0.02
FADING, DECIDE = 0.999, 500


def likelihoods(votes, targets):
    """Return the floored probability that each expert gave to the true class, (n_rows, n_experts)."""
    own = np.take_along_axis(votes, targets[:, None, None], axis=2)[:, :, 0]
    return (1 - FLOOR) * own + FLOOR / votes.shape[2]


def voted(votes):
    return votes.any(axis=2)


def mixed(weights, votes):
    return np.einsum("...e,...ec->...c", weights.astype(float), votes.astype(float))


def toward_best(votes, weights, targets, tau):
    oracle = np.where(voted(votes), likelihoods(votes, targets) ** (1 / tau), 0.0)
    total = oracle.sum(axis=1, keepdims=True)
    return np.where(total > 0, weights - oracle / np.where(total > 0, total, 1.0), 0.0)


def successes(votes, weights, targets):
    """Return right, log-likelihood and (share - weight), NaN without a vote."""
    has, own = voted(votes), likelihoods(votes, targets)
    total = (weights * own).sum(axis=1, keepdims=True)
    total[total == 0] = 1.0
    found = (votes.argmax(axis=2) == targets[:, None], np.log(own), weights * own / total - weights)
    return [np.where(has, one, np.nan) for one in found]


def competence(near, success, k):
    local = np.zeros(success.shape)
    for row, rows in enumerate(near[:, :k]):
        of_near = success[rows[rows >= 0]]
        is_known = (~np.isnan(of_near)).any(axis=0)
        if is_known.any():
            means = np.nanmean(of_near[:, is_known], axis=0)
            local[row, is_known] = means - means.mean()
    return local


def reweighted(votes, weights, added, faith):
    return mixed(weights * np.exp(faith * added), votes).argmax(axis=1)


def reweighted_by_learnt(votes, weights, added, targets, rate):
    faith, answers, own = 0.0, [], likelihoods(votes, targets)
    for row in range(len(votes)):
        gate = weights[row] * np.exp(faith * added[row])
        answers.append(mixed(gate, votes[row]).argmax())
        if gate.sum() > 0:
            gate = gate / gate.sum()
            share = gate * own[row] / (gate * own[row]).sum()
            faith += rate * ((share - gate) * added[row]).sum()
    return np.array(answers), faith


def eliminated(votes, weights, near, right, k):
    answers = []
    for row, rows in enumerate(near[:, :k]):
        rows = rows[rows >= 0]
        for n in range(len(rows), -1, -1):  # without any sample all experts are good
            is_good = (right[rows[:n]] == 1.0).all(axis=0)
            if (is_good & (weights[row] > 0)).any() or n == 0:
                break
        answers.append(mixed(np.where(is_good, weights[row], 0.0), votes[row]).argmax())
    return np.array(answers)


def united(votes, weights, near, right, k, by_gate):
    answers = []
    for row, rows in enumerate(near[:, :k]):
        counts = (right[rows[rows >= 0]] == 1.0).sum(axis=0) * (weights[row] if by_gate else weights[row] > 0)
        answers.append(mixed(counts if counts.sum() > 0 else weights[row], votes[row]).argmax())
    return np.array(answers)


def contrasted(votes, weights, weak, beta, alpha):
    answers = []
    for vote, weight in zip(votes, weights, strict=True):
        strong = mixed(weight, vote)
        best_first = [e for e in np.argsort(-weight, kind="stable") if weight[e] > 0]
        if not best_first:
            answers.append(strong.argmax())
            continue
        if weak == 0:
            other = vote.sum(axis=0) / vote.sum()
        else:
            other = vote[best_first[min(weak, len(best_first)) - 1 if weak > 0 else -1]]
            other = other / other.sum()
        of_strong, of_weak = ((1 - FLOOR) * p + FLOOR / len(p) for p in (strong, other))
        score = (1 + beta) * np.log(of_strong) - beta * np.log(of_weak)
        answers.append(np.where(strong >= alpha * strong.max(), score, -np.inf).argmax())
    return np.array(answers)


def within_budget(votes, weights, targets, k, by_loss):
    answers = []
    for vote, weight, target in zip(votes, weights, targets, strict=True):
        merit = np.where(vote.any(axis=1), vote[:, target] if by_loss else weight, -1.0)
        chosen = [e for e in np.argsort(-merit, kind="stable")[:k] if merit[e] >= 0]
        share = np.ones(len(chosen)) if by_loss else weight[chosen]
        answers.append(mixed(share, vote[chosen]).argmax())
    return np.array(answers)


class Trees:
    """What is known of the trees of a record, and which of them are kept by a rule."""

    def __init__(self, n_trees, n_kept, rule):
        self.n, self.n_kept, self.rule = n_trees, n_kept, rule
        self.usage, self.loss, self.agreed = (
            np.zeros(n_trees),
            np.zeros(n_trees),
            np.zeros((n_trees, n_trees)),
        )
        self.merit = {}
        self.kept, self.heirs = set(range(n_trees)), {}

    def follow(self, vote, weight, target):
        own = likelihoods(vote[None], np.array([target]))[0]
        total, likelihood = weight.sum(), (weight * own).sum()
        for e in range(self.n):
            rest = total - weight[e]
            without = 0.0
            if rest > 1e-9 * total:
                without = np.log(likelihood / total) - np.log((likelihood - weight[e] * own[e]) / rest)
            share = weight[e] / total if total > 0 else 0.0
            self.usage[e] += (1 - FADING) * (share - self.usage[e])
            self.loss[e] += (1 - FADING) * (without - self.loss[e])
        merit = self.merit.setdefault(target, np.zeros(self.n))
        merit += (1 - FADING) * (own[: self.n] - merit)
        first = vote[: self.n].argmax(axis=1)
        self.agreed += (1 - FADING) * ((first[:, None] == first) - self.agreed)

    def choose(self):
        self.kept, self.heirs = set(range(self.n)), {}
        owners = [merit.argmax() for merit in self.merit.values()]
        keys = {
            "usage": lambda e: self.usage[e],
            "loss": lambda e: self.loss[e],
            "owners": lambda e: (owners.count(e), self.usage[e]),
            "first": lambda e: -e,
        }
        while len(self.kept) > self.n_kept:
            candidates = sorted(self.kept)
            if self.rule in ("redundant", "merged"):
                pairs = [(a, b) for a in candidates for b in candidates if a != b]
                a, b = max(pairs, key=lambda pair: self.agreed[pair])
                self.kept.remove(a if self.usage[a] < self.usage[b] else b)
            else:
                self.kept.remove(min(candidates, key=keys[self.rule]))
        if self.rule == "merged":
            for e in set(range(self.n)) - self.kept:
                self.heirs[e] = max(sorted(self.kept), key=lambda other: self.agreed[e, other])


def with_fewer_trees(votes, weights, targets, n_trees, n_kept, rule):
    trees, answers = Trees(n_trees, n_kept, rule), []
    for row, (vote, weight, target) in enumerate(zip(votes, weights.astype(float), targets, strict=True)):
        if row >= 2 * DECIDE and row % DECIDE == 0:
            trees.choose()
        gate = weight.copy()
        for e in set(range(n_trees)) - trees.kept:
            gate[e] = 0.0
            if e in trees.heirs:
                gate[trees.heirs[e]] += weight[e]
        if gate.sum() == 0:
            gate = np.array([e >= n_trees or e in trees.kept for e in range(len(weight))], float)
        answers.append(mixed(gate, vote).argmax())
        trees.follow(vote, weight, int(target))
    return np.array(answers)
