"""Weights of classes, slowly: each is computed anew from all labels before it."""

from __future__ import annotations

import math


def faded_counts(labels, fading):
    """Return {label: faded number of its samples}, in the order of appearance."""
    n = len(labels)
    return {
        label: sum(fading ** (n - 1 - i) for i in range(n) if labels[i] == label)
        for label in dict.fromkeys(labels)
    }


def balanced(labels, fading):
    """Return {label: n / (k · n_c)}, with one sample of each class beside those that were seen."""
    counts = {label: n + 1 for label, n in faded_counts(labels, fading).items()}
    return {label: sum(counts.values()) / (len(counts) * n) for label, n in counts.items()}


def weighed(labels, weights, fading):
    """Return for each row what multiplies the probabilities, and the weight with which it is learnt."""
    factors, learnt, known = [], [], []
    for label, weight in zip(labels, weights, strict=True):
        factors.append({name: math.sqrt(w) for name, w in balanced(known, fading).items()})
        if weight > 0:
            known.append(label)
        learnt.append(weight * math.sqrt(balanced(known, fading)[label]) if weight > 0 else 0.0)
    return factors, learnt


def reweighed(proba, factors):
    """Return probabilities times factors, which are 1 where there is none, divided by their sum."""
    products = {label: p * factors.get(label, 1.0) for label, p in proba.items()}
    return {label: p / sum(products.values()) for label, p in products.items()}
