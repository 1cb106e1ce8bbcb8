"""Twin of the co-training of router and experts (DriftMoE, arXiv 2507.18464): `driftmoe/mixture/cotraining.py`."""

from __future__ import annotations

import math

import numpy as np


class ReferenceDriftMoE:
    """MoE-Data sample by sample, as the paper tells it: plain lists and loops, float64, numeric features only.

    Parameters
    ----------
    layers
        Start of the router: [(weights as rows of numbers, biases), ...], from the first layer to the last.
    experts
        Untrained river classifiers.
    """

    def __init__(self, layers, experts, *, top_k, batch_size, learning_rate):
        self.layers = [([list(map(float, row)) for row in w], list(map(float, b))) for w, b in layers]
        self.experts = experts
        self.top_k, self.batch_size, self.learning_rate = top_k, batch_size, learning_rate
        self.seen = []  # samples so far
        self.labels = []  # classes in order of appearance
        self.batch = []  # (input, mask) of the samples since the last step
        self.moments = None
        self.n_steps = 0
        self.loss = self.gradients = None

    def standardise(self, x):
        z = []
        for name in sorted(x):
            values = [sample[name] for sample in self.seen]
            mean = sum(values) / max(len(values), 1)
            deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / max(len(values), 1))
            z.append(0.0 if deviation == 0.0 else min(5.0, max(-5.0, (x[name] - mean) / deviation)))
        return z

    def forward(self, z):
        """Return what each layer puts out, the input first; ReLU on all but the last."""
        outputs = [z]
        for i, (weights, biases) in enumerate(self.layers):
            out = [
                sum(w * v for w, v in zip(row, outputs[-1], strict=True)) + b
                for row, b in zip(weights, biases, strict=True)
            ]
            outputs.append(out if i == len(self.layers) - 1 else [max(0.0, v) for v in out])
        return outputs

    def choose(self, logits, k):
        return sorted(range(len(logits)), key=lambda e: (-logits[e], e))[:k]

    def predict(self, x):
        """The expert that the router trusts most answers; one that has seen nothing passes on to all others."""
        logits = self.forward(self.standardise(x))[-1]
        vote = self.experts[self.choose(logits, 1)[0]].predict_proba_one(x)
        if not vote:
            votes = [v for v in (expert.predict_proba_one(x) for expert in self.experts) if v]
            vote = {c: sum(v.get(c, 0.0) / sum(v.values()) for v in votes) for c in self.labels}
        return max(self.labels, key=lambda c: vote.get(c, 0.0))

    def learn(self, x, y):
        if y not in self.labels:
            self.labels.append(y)
        z = self.standardise(x)  # by the samples before this one
        self.seen.append(x)
        logits = self.forward(z)[-1]
        votes = [expert.predict_proba_one(x) for expert in self.experts]
        mask = [float(bool(v) and max(self.labels, key=lambda c: v.get(c, 0.0)) == y) for v in votes]
        if sum(mask) == 0:
            of_true_class = [v.get(y, 0.0) / sum(v.values()) if v else 0.0 for v in votes]
            mask[of_true_class.index(max(of_true_class))] = 1.0
        for e in self.choose(logits, self.top_k):
            self.experts[e].learn_one(x, y)
        self.batch.append((z, mask))
        if len(self.batch) == self.batch_size:
            self.step()
            self.batch = []

    def step(self):
        """Mean binary cross-entropy over samples and experts, its gradient by the chain rule, one step of Adam."""
        n = len(self.batch) * len(self.experts)
        self.loss = 0.0
        gradients = [([[0.0] * len(row) for row in w], [0.0] * len(b)) for w, b in self.layers]
        for z, mask in self.batch:
            outputs = self.forward(z)
            probability = [1.0 / (1.0 + math.exp(-v)) for v in outputs[-1]]
            self.loss -= (
                sum(math.log(p if m else 1.0 - p) for p, m in zip(probability, mask, strict=True)) / n
            )
            delta = [(p - m) / n for p, m in zip(probability, mask, strict=True)]  # d loss / d logit
            for i in reversed(range(len(self.layers))):
                weights, _ = self.layers[i]
                for o, d in enumerate(delta):
                    gradients[i][1][o] += d
                    for j, v in enumerate(outputs[i]):
                        gradients[i][0][o][j] += d * v
                delta = [
                    sum(weights[o][j] * d for o, d in enumerate(delta)) if v > 0.0 else 0.0
                    for j, v in enumerate(outputs[i])
                ]
        self.gradients = gradients
        self.adam([np.array(g) for layer in gradients for g in layer])

    def adam(self, gradients):
        """Kingma & Ba 2015, algorithm 1."""
        if self.moments is None:
            self.moments = [(np.zeros_like(g), np.zeros_like(g)) for g in gradients]
        self.n_steps += 1
        parameters = [np.array(p) for layer in self.layers for p in layer]
        for i, g in enumerate(gradients):
            m, v = self.moments[i]
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
            self.moments[i] = m, v
            m_hat, v_hat = m / (1 - 0.9**self.n_steps), v / (1 - 0.999**self.n_steps)
            parameters[i] = parameters[i] - self.learning_rate * m_hat / (np.sqrt(v_hat) + 1e-8)
        self.layers = [
            (parameters[i].tolist(), parameters[i + 1].tolist()) for i in range(0, len(parameters), 2)
        ]
