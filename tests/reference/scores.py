"""The standard figures of predictions, slowly: each baseline is counted anew from all labels before a sample."""

from __future__ import annotations

import math

from river import metrics

from driftmoe.metrics import GMean, macro_f1
from driftmoe.metrics.scores import in_order


class Confusion(metrics.ConfusionMatrix):
    """River's own, whose classes come in an order that is the same in each process."""

    @property
    def classes(self):
        found = set(super().classes)
        return [*in_order(found - {None}), *(found & {None})]


def weight_of(label, labels, weights):
    return sum(w for other, w in zip(labels, weights, strict=True) if other == label)


def majority(labels, weights, order):
    """Return the label with the largest weight, of equals the first in `order`."""
    return max(order, key=lambda label: weight_of(label, labels, weights))


def follower(labels, weights):
    """Return the label that most often followed the last one; of equals the first to do so as often."""
    after = [i for i in range(1, len(labels)) if labels[i - 1] == labels[-1] and weights[i]] if labels else []
    sums, best = {}, None
    for i in after or range(len(labels)):
        sums[labels[i]] = sums.get(labels[i], 0.0) + weights[i]
        if sums[labels[i]] > sums.get(best, 0.0):
            best = labels[i]
    return best


def figures(samples, counted, window, classes):
    """Return the figures of those samples that are `counted`, by their numbers.

    `samples` are (label, prediction, weight) from the start of the stream. The majority is of the last `window`.
    """
    labels, _, weights = map(list, zip(*samples, strict=True))
    confusion, of_baselines = Confusion(), [0.0, 0.0, 0.0]
    order = list(dict.fromkeys([*classes, *labels]))
    for i in counted:
        t, p, w = samples[i]
        confusion.update(t, p, w)
        last = slice(0 if window is None else max(i + 1 - window, 0), i + 1)
        said = (
            majority(labels[last], weights[last], order),
            labels[i - 1] if i else None,
            follower(labels[:i], weights[:i]),
        )
        for k, one in enumerate(said):
            of_baselines[k] += w * (one == t)
    correct, total = confusion.total_true_positives, confusion.total_weight

    def kappa(of_baseline):
        return 0.0 if of_baseline >= total else (correct - of_baseline) / (total - of_baseline)

    by_order = kappa(of_baselines[2])
    return {
        "accuracy": correct / total if total else 0.0,
        "kappa": metrics.CohenKappa(confusion).get() if total else 0.0,
        "kappa_m": kappa(of_baselines[0]),
        "kappa_t": kappa(of_baselines[1]),
        "kappa_o": math.nan if of_baselines[2] >= total > correct else by_order,
        "f1_macro": macro_f1(confusion),
        "g_mean": GMean(confusion).get(),
    }
