"""Twins of the experts that are no trees: `driftmoe/experts/`."""

from __future__ import annotations

import math

import numpy as np


def nearest_slowly(inputs, targets, taught, capacity, k, votes, n_classes, *, by_relevance):
    """What `driftmoe.experts.Neighbours` says of each row before learning it, by sorting all that it remembers."""
    proba = np.zeros((len(inputs), len(votes), n_classes))
    scales = np.ones(inputs.shape[1])
    episodes = []  # the oldest first: samples (their rows), how often it was thinned, how well it has done
    for row in range(len(inputs)):
        if by_relevance and row >= 500 and row % 100 == 0:
            weight = taught[:row] * 0.9995 ** (row - 1 - np.arange(row))
            means = np.zeros((n_classes, inputs.shape[1]))
            share = np.zeros(n_classes)
            for c in range(n_classes):
                of_class = targets[:row] == c
                share[c] = weight[of_class].sum()
                if of_class.any():
                    means[c] = np.average(inputs[:row][of_class], axis=0, weights=weight[of_class])
            share /= share.sum()
            between = share @ (means - share @ means) ** 2
            scales = between / between.mean()
        squares = ((inputs[:row] - inputs[row]) ** 2 * scales).sum(axis=1)
        best = max((episode["accuracy"] for episode in episodes), default=0.0)
        for v, (likeness, rate) in enumerate(votes):
            near = sorted(
                (
                    squares[i] * math.exp(likeness * (best - episode["accuracy"]))
                    + (rate * (row - 1 - i)) ** 2,
                    i,
                )
                for episode in episodes
                for i in episode["samples"]
            )[:k]
            if not near:
                continue
            proba[row, v] = 0.1 / n_classes
            for square, i in near:
                proba[row, v, targets[i]] += taught[i] * max(near[0][0], 1e-6) / max(square, 1e-6)
            proba[row, v] /= proba[row, v].sum()
        for episode in episodes:
            is_right = targets[min(episode["samples"], key=lambda i: squares[i])] == targets[row]
            episode["accuracy"] = 0.95 * episode["accuracy"] + 0.05 * is_right
        if not episodes or len(episodes[-1]["samples"]) == capacity // 32:
            begin_episode_slowly(episodes)
        episodes[-1]["samples"].append(row)
    return proba


def begin_episode_slowly(episodes):
    """Thin the past where there are more than ten episodes of a density, and append an empty one, the 32nd at most."""
    for n_thinnings in range(len(episodes)):
        alike = [episode for episode in episodes if episode["n_thinnings"] == n_thinnings]
        if len(alike) > 10:
            first, second = alike[:2]
            first["samples"] = first["samples"][::2] + second["samples"][::2]
            first["n_thinnings"] += 1
            first["accuracy"] = (first["accuracy"] + second["accuracy"]) / 2
            episodes.remove(second)
    if len(episodes) == 32:
        del episodes[0]
    accuracy = episodes[-1]["accuracy"] if episodes else 0.0
    episodes.append({"samples": [], "n_thinnings": 0, "accuracy": accuracy})


def follow_slowly(targets, taught, n_classes):
    """What `driftmoe.experts.LabelHistory` says before each label."""
    proba = []
    for i in range(len(targets)):
        if i == 0:
            proba.append(np.zeros(n_classes))
            continue
        counts, n_later = np.zeros(n_classes), 0
        for j in range(i - 1, 0, -1):
            if targets[j - 1] == targets[i - 1]:
                counts[targets[j]] += taught[j] * 0.998**n_later
                n_later += 1
        proba.append((counts + 0.1 / n_classes) / (counts.sum() + 0.1))
    return np.array(proba)


def regress_slowly(inputs, targets, taught, n_classes, rate):
    """What a logistic regression says before each label, and its weights at the end, the constant's last."""
    weights, proba = np.zeros((n_classes, len(inputs[0]) + 1)), []
    for x, y, w in zip(inputs, targets, taught, strict=True):
        x = np.append(x, 1.0)
        p = np.exp(weights @ x) / np.exp(weights @ x).sum()
        proba.append(p if proba else np.zeros(n_classes))
        weights -= w * rate * np.outer(p - (np.arange(n_classes) == y), x) / (x @ x)
    return np.array(proba), weights


def perceive_slowly(inputs, targets, taught, n_classes, hidden, rate):
    """What a network with one hidden layer says before each label; its first weights as rows, the constant's first."""
    hidden, outputs = hidden.astype(np.float64), np.zeros((n_classes, 1 + hidden.shape[1]))
    moments = [np.zeros((2, *weights.shape)) for weights in (hidden, outputs)]
    proba = []
    for n, (x, y, w) in enumerate(zip(inputs, targets, taught, strict=True), 1):
        x = np.append(1.0, x)
        units = np.append(1.0, np.maximum(x @ hidden, 0.0))
        p = np.exp(outputs @ units) / np.exp(outputs @ units).sum()
        proba.append(p if proba else np.zeros(n_classes))
        errors = w * (p - (np.arange(n_classes) == y))
        of_outputs = np.outer(errors, units)
        of_hidden = np.outer(x, (errors @ outputs)[1:] * (units[1:] > 0.0))
        for weights, moment, gradient, learns in (
            (hidden, moments[0], of_hidden, x != 0.0),
            (outputs, moments[1], of_outputs, np.ones(n_classes, np.bool_)),
        ):
            moment[0, learns] = 0.9 * moment[0, learns] + 0.1 * gradient[learns]
            moment[1, learns] = 0.999 * moment[1, learns] + 0.001 * gradient[learns] ** 2
            mean, square = moment[0] / (1.0 - 0.9**n), moment[1] / (1.0 - 0.999**n)
            weights -= rate * (mean / (np.sqrt(square) + 1e-8)) * learns[:, np.newaxis]
    return np.array(proba)


def multiply_slowly(inputs, targets, taught, n_classes, rate, forgetting, n_own, n_shared):
    """What `driftmoe.experts.Products` says before each label, and its weights at the end, a row for each class."""
    n_numbers = 1 + inputs.shape[1]
    pairs = [(i, j) for j in range(n_numbers) for i in range(j + 1)]
    place = [k if k < n_own else n_own + k % n_shared for k in range(len(pairs))]
    weights, squares = np.zeros((n_classes, max(place) + 1)), np.zeros(max(place) + 1)
    proba, total_weight, total_size = [], 0.0, 0.0
    for x, y, w in zip(inputs.astype(np.float64), targets, taught, strict=True):
        x = np.append(1.0, x)
        z = np.array([x[i] * x[j] for i, j in pairs])
        logits = sum(weights[:, place[k]] * z[k] for k in range(len(pairs)))
        p = np.exp(logits) / np.exp(logits).sum()
        proba.append(p if proba else np.zeros(n_classes))
        errors = p - (np.arange(n_classes) == y)
        total_weight, total_size = total_weight + w, total_size + w * (z @ z)
        steps = np.zeros(len(pairs))
        for k in np.flatnonzero(z):
            squares[place[k]] = forgetting * squares[place[k]] + w * (errors @ errors) * z[k] ** 2
            steps[k] = z[k] / (np.sqrt(squares[place[k]]) + 1e-8)
        step = min(w * rate * np.sqrt(total_weight / total_size), 1.0 / (steps @ z))
        for k in np.flatnonzero(z):
            weights[:, place[k]] -= step * errors * steps[k]
    return np.array(proba), weights
