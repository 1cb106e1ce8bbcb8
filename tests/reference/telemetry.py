"""Twins of what is recorded of the routing: `driftmoe/mixture/telemetry.py`."""

from __future__ import annotations

import math


def entropy_share(p):
    """Shannon's entropy over its maximum."""
    return sum(-q * math.log(q) for q in p if q > 0) / math.log(len(p)) if len(p) > 1 else 0.0


def first_right_slowly(logits):
    """Chance of each expert to be the first right one, the most trusted being asked first."""
    beliefs = sorted((1 / (1 + math.exp(-z)) for z in logits if z > -math.inf), reverse=True)
    first, nobody = [], 1.0
    for belief in beliefs:
        first.append(nobody * belief)
        nobody *= 1 - belief
    return [p + nobody / len(beliefs) for p in first]


def tally_slowly(rows, n_known):
    """Sums over rows, each a dict of lists: who was chosen, with what weight, who voted and was right, and so on."""
    totals = {"entropy": 0.0, "null": 0.0, "right": 0, "missed": 0}
    experts = [{"chosen": 0, "weight": 0.0, "voted": 0, "right": 0} for _ in rows[0]["weights"]]
    for row in rows:
        is_new = row["target"] >= n_known
        n_known = max(n_known, row["target"] + 1)
        p = first_right_slowly(row["logits"]) if row["logits"] is not None else row["weights"]
        totals["entropy"] += entropy_share(p)
        places = sum(row["mask"]) + row["n_null"]
        totals["null"] += row["n_null"] / places if places else 0.0
        right = []
        for e, votes in enumerate(row["votes"]):
            if isinstance(votes, float):  # of one class against the rest
                has_vote, is_right = True, (votes > 0.5) == (e == row["target"])
            else:
                has_vote = any(votes)
                is_right = has_vote and not is_new and votes.index(max(votes)) == row["target"]
            right.append(is_right)
            experts[e]["chosen"] += row["mask"][e]
            experts[e]["weight"] += row["weights"][e]
            experts[e]["voted"] += has_vote
            experts[e]["right"] += is_right
        is_right = not is_new and row["answer"].index(max(row["answer"])) == row["target"]
        totals["right"] += is_right
        totals["missed"] += any(right) and not is_right
    return totals, experts, n_known
