"""What the order of labels says, slowly: each answer is counted anew from all labels before it."""

from __future__ import annotations


def most_often(labels):
    """Return the most frequent label, of equals the one that was the first to occur so often."""
    most = max(labels.count(label) for label in labels)
    for i in range(len(labels)):
        if labels[: i + 1].count(labels[i]) == most:
            return labels[i]


def following(labels, order):
    """Return the label that most often followed the last `order` labels, or fewer if these never came before."""
    for n in range(min(order, len(labels)), -1, -1):
        last = labels[len(labels) - n :]
        followed = [labels[i + n] for i in range(len(labels) - n) if labels[i : i + n] == last]
        if followed:
            return most_often(followed)
    return None


def kappa_order(y_true, y_pred):
    """Return the kappa of predictions against the label that most often followed the last one."""
    said = [following(y_true[:i], 1) for i in range(len(y_true))]
    p = sum(t == p for t, p in zip(y_true, y_pred, strict=True)) / len(y_true)
    p_o = sum(t == b for t, b in zip(y_true, said, strict=True)) / len(y_true)
    return (p - p_o) / (1 - p_o)
