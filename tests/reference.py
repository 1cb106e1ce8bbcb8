"""Slow, readable twins of the compiled code, which import nothing from it."""

from __future__ import annotations

import math

import numpy as np
import torch

# --------------------------------------------------------------------------------------------------
# Java's random numbers: streams/java_random.py
# --------------------------------------------------------------------------------------------------


class JavaRandom:
    """`java.util.Random` as its documentation describes it.

    The logarithm in `next_gaussian` is Python's, so that its last bits may differ from Java's.
    """

    def __init__(self, seed):
        self.seed = (seed ^ 0x5DEECE66D) % 2**48
        self.kept = None

    def next_bits(self, bits):
        self.seed = (self.seed * 0x5DEECE66D + 11) % 2**48
        return self.seed // 2 ** (48 - bits)

    def next_int(self):
        number = self.next_bits(32)
        return number if number < 2**31 else number - 2**32

    def next_int_below(self, bound):
        is_power_of_two = bin(bound).count("1") == 1
        if is_power_of_two:
            return bound * self.next_bits(31) // 2**31
        usable = 2**31 // bound * bound
        while (number := self.next_bits(31)) >= usable:
            pass
        return number % bound

    def next_double(self):
        return (self.next_bits(26) * 2**27 + self.next_bits(27)) / 2**53

    def next_float(self):
        return self.next_bits(24) / 2**24

    def next_boolean(self):
        return bool(self.next_bits(1))

    def next_gaussian(self):
        if self.kept is not None:
            number, self.kept = self.kept, None
            return number
        square = 0.0
        while not 0.0 < square < 1.0:
            a, b = 2 * self.next_double() - 1, 2 * self.next_double() - 1
            square = a * a + b * b
        scale = math.sqrt(-2 * math.log(square) / square)
        self.kept = b * scale
        return a * scale


# ---------------------------------------------------------------------------------------------------------------------
# Co-training of router and experts (DriftMoE, arXiv 2507.18464): driftmoe/mixture/cotraining.py, driftmoe/network.py
# ---------------------------------------------------------------------------------------------------------------------


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


# ---------------------------------------------------------------------------------------------------------------------
# Random numbers that are functions of a key: driftmoe/draws.py; the network with dropout: driftmoe/network.py
# ---------------------------------------------------------------------------------------------------------------------


def keyed_slowly(key, number):
    """SplitMix64 (Steele, Lea & Flood 2014, fig. 14) started at the key, its output number `number`."""
    z = (key + (number + 1) * 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


def uniform_slowly(key, number):
    """The middle of one of 2^53 equal parts of the interval from 0 to 1."""
    return (keyed_slowly(key, number) // 2**11 + 0.5) / 2**53


def poisson_slowly(key, row, column, mean):
    """Knuth: as many uniform numbers as their product is above exp(-mean)."""
    of_draw = keyed_slowly(keyed_slowly(key, row), column)
    n, product = 0, uniform_slowly(of_draw, 0)
    while product > math.exp(-mean):
        n += 1
        product *= uniform_slowly(of_draw, n)
    return n


def forward_slowly(module, inputs, dropout=0.0, key=None):
    """What a router's module says of rows while hidden units are silenced, each by a draw of its own."""
    *hidden, last = module.layers
    activations = inputs
    for i, layer in enumerate(hidden):
        activations = torch.relu(activations @ layer.weight.T + layer.bias)
        if dropout > 0.0:
            n_rows, n_units = activations.shape
            of_layer = [keyed_slowly(keyed_slowly(key, row), i) for row in range(n_rows)]
            is_kept = [
                [uniform_slowly(of_row, unit) >= dropout for unit in range(n_units)] for of_row in of_layer
            ]
            activations = activations * torch.tensor(is_kept) / (1.0 - dropout)
    return activations @ last.weight.T + last.bias


# --------------------------------------------------------------------------------------------------
# Hoeffding trees: driftmoe/trees
# --------------------------------------------------------------------------------------------------


class Leaf:
    """What a leaf remembers: plain dictionaries, whose order is the order in which things came."""

    def __init__(self, class_weights, depth):
        self.class_weights = class_weights  # class -> weight, what came down from the split above included
        self.depth = depth
        self.samples = {}  # feature -> class -> what the leaf has seen of them: see `Leaf.observe`
        self.is_active = True
        self.majority_correct = self.bayes_correct = 0.0
        self.last_attempt = self.weight

    @property
    def weight(self):
        total = 0.0
        for weight in self.class_weights.values():
            total += weight
        return total

    def majority(self):
        return max(self.class_weights, key=self.class_weights.get, default=None)

    def observe(self, f, value, c, w, is_nominal):
        """A nominal feature's weight of each value; a number's weight, mean, sum of squares, least, largest."""
        by_class = self.samples.setdefault(f, {})
        if is_nominal:
            weights = by_class.setdefault(c, {})
            weights[value] = weights.get(value, 0.0) + w
            return
        n, mean, m2, low, high = by_class.get(c, (0.0, 0.0, 0.0, value, value))
        n += w
        new = mean + (w / n) * (value - mean)
        by_class[c] = (
            n, new, m2 + w * (value - mean) * (value - new), min(low, value), max(high, value)
        )  # fmt: skip


class Split:
    """A test; `branches` are nodes, `values` (multiway only) the value that leads to each."""

    def __init__(self, feature, kind, threshold, values, branches, depth):
        self.feature, self.kind, self.threshold, self.depth = feature, kind, threshold, depth
        self.values, self.branches = values, branches

    @property
    def weight(self):
        return sum(branch.weight for branch in self.branches)

    def branch(self, value):
        """Index of the branch for a value, None where it is missing or has none."""
        if value is None:
            return None
        if self.kind == "multiway":
            return self.values.index(value) if value in self.values else None
        return int(value > self.threshold) if self.kind == "numeric" else int(value != self.threshold)

    def most_common(self):
        return max(range(len(self.branches)), key=lambda b: self.branches[b].weight)


class HoeffdingTree:
    """The VFDT of Domingos & Hulten 2000 with the leaves of Gama, Rocha & Medas 2003, on rows with None for missing."""

    def __init__(
        self, n_classes, nominal=(), *, grace_period=200, delta=1e-7, tau=0.05, max_depth=math.inf,
        split_criterion="info_gain", leaf_prediction="nba", nb_threshold=0, binary_split=False,
        min_branch_fraction=0.01, max_share_to_split=0.99,
    ):  # fmt: skip
        self.n_classes, self.nominal = n_classes, set(nominal)
        self.grace_period, self.delta, self.tau, self.max_depth = grace_period, delta, tau, max_depth
        self.split_criterion, self.leaf_prediction = split_criterion, leaf_prediction
        self.nb_threshold, self.binary_split = nb_threshold, binary_split
        self.min_branch_fraction, self.max_share_to_split = min_branch_fraction, max_share_to_split
        self.root = Leaf({}, 0)

    # Down the tree

    def walk(self, x, is_learning):
        """Return the leaf of a row, the split above with the branch taken, and whether all tests could be made."""
        node, above, is_direct = self.root, None, True
        while isinstance(node, Split):
            value = x[node.feature]
            b = node.branch(value)
            if b is None:
                is_direct = False
                if is_learning and value is not None:
                    node.values.append(value)
                    node.branches.append(Leaf({}, node.depth + 1))
                    b = len(node.branches) - 1
                else:
                    b = node.most_common()
            node, above = node.branches[b], (node, b)
        return node, above, is_direct

    # What a leaf says

    def log_density(self, leaf, f, value, c):
        """Log of the density of a value given a class; 0 where the leaf cannot tell."""
        seen = leaf.samples.get(f, {}).get(c)
        if seen is None:
            return 0.0
        if f in self.nominal:
            weight = seen.get(value, 0.0)
            return math.log(weight / sum(seen.values())) if weight > 0.0 else 0.0
        n, mean, m2, _, _ = seen
        variance = m2 / (n - 1.0) if n > 1.0 else 0.0
        if variance <= 0.0:
            return 0.0
        return -((value - mean) ** 2) / (2.0 * variance) - 0.5 * math.log(2.0 * math.pi * variance)

    def bayes(self, leaf, x):
        """Class -> probability by naive Bayes; empty where no class has weight."""
        total = leaf.weight
        votes = {
            c: math.log(weight / total)
            + sum(self.log_density(leaf, f, value, c) for f, value in enumerate(x) if value is not None)
            for c, weight in leaf.class_weights.items()
            if weight > 0.0
        }
        highest = max(votes.values(), default=0.0)
        likelihood = {c: math.exp(vote - highest) for c, vote in votes.items()}
        return {c: value / sum(likelihood.values()) for c, value in likelihood.items()}

    def predict_proba(self, x):
        leaf, _, _ = self.walk(x, is_learning=False)
        use_bayes = (
            leaf.is_active
            and {
                "mc": False,
                "nb": leaf.weight >= self.nb_threshold,
                "nba": leaf.bayes_correct >= leaf.majority_correct,
            }[self.leaf_prediction]
        )
        proba = self.bayes(leaf, x) if use_bayes else {}
        if not proba and leaf.weight > 0.0:
            proba = {c: weight / leaf.weight for c, weight in leaf.class_weights.items()}
        return [proba.get(c, 0.0) for c in range(self.n_classes)]

    # Learning

    def learn(self, x, c, w=1.0):
        if w == 0.0:
            return
        leaf, above, is_direct = self.walk(x, is_learning=True)
        if leaf.is_active and self.leaf_prediction == "nba":
            if not leaf.class_weights or leaf.majority() == c:
                leaf.majority_correct += w
            bayes = self.bayes(leaf, x)
            if bayes and max(bayes, key=bayes.get) == c:
                leaf.bayes_correct += w
        leaf.class_weights[c] = leaf.class_weights.get(c, 0.0) + w
        if leaf.is_active:
            for f, value in enumerate(x):
                if value is not None:
                    leaf.observe(f, value, c, w, f in self.nominal)
        if not is_direct or not leaf.is_active:
            return
        if leaf.depth >= self.max_depth:
            leaf.is_active = False
        elif leaf.weight - leaf.last_attempt >= self.grace_period:
            leaf.last_attempt = leaf.weight
            self.attempt_split(leaf, above)

    def attempt_split(self, leaf, above):
        weights = leaf.class_weights
        if sum(weight > 0.0 for weight in weights.values()) < 2:
            return
        if max(weights.values()) / leaf.weight > self.max_share_to_split:
            leaf.samples = {}
            return
        best, second = (-math.inf,), (-math.inf,)
        for f in sorted(leaf.samples):
            candidate = self.best_of_feature(leaf, f)
            if candidate[0] == -math.inf:
                continue
            if candidate[0] >= best[0]:
                best, second = candidate, best
            elif candidate[0] > second[0]:
                second = candidate
        value_range = 1.0 if self.split_criterion == "gini" else math.log2(max(2, len(weights)))
        bound = math.sqrt(value_range**2 * math.log(1.0 / self.delta) / (2.0 * leaf.weight))
        if best[0] == -math.inf:
            if bound < self.tau:
                leaf.samples = {}
            return
        if best[0] - second[0] > bound or bound < self.tau:
            _, feature, kind, threshold, values, parts = best
            branches = [Leaf(part, leaf.depth + 1) for part in parts]
            split = Split(feature, kind, threshold, values, branches, leaf.depth)
            if above is None:
                self.root = split
            else:
                above[0].branches[above[1]] = split

    # Splitting

    def best_of_feature(self, leaf, f):
        """Return (merit, feature, kind, threshold, values, class weights of each branch) of its best candidate."""
        by_class = leaf.samples[f]
        candidates = []
        if f in self.nominal:
            values = sorted({value for weights in by_class.values() for value in weights})
            if not self.binary_split:
                parts = [
                    {c: by_class[c][value] for c in sorted(by_class) if value in by_class[c]}
                    for value in values
                ]
                candidates.append(("multiway", None, values, parts))
            for value in values:
                equal = {c: weights[value] for c, weights in by_class.items() if value in weights}
                others = {
                    c: sum(weight for v, weight in weights.items() if v != value)
                    for c, weights in by_class.items()
                    if set(weights) != {value}
                }
                candidates.append(("equals", value, None, [equal, others]))
        else:
            low = min(seen[3] for seen in by_class.values())
            high = max(seen[4] for seen in by_class.values())
            for i in range(10):
                threshold = low + (high - low) / 11.0 * (i + 1)
                if low < threshold < high:
                    parts = self.parts_of_threshold(by_class, threshold)
                    candidates.append(("numeric", threshold, None, parts))
        best = (-math.inf, f)
        for kind, threshold, values, parts in candidates:
            merit = self.merit(leaf.class_weights, parts)
            if merit > best[0]:
                best = (merit, f, kind, threshold, values, parts)
        return best

    def parts_of_threshold(self, by_class, threshold):
        """Class weights below and above, by the Gaussian of each class within its range."""
        below, above = {}, {}
        for c, (n, mean, m2, low, high) in by_class.items():
            if threshold < low:
                above[c] = n
            elif threshold >= high:
                below[c] = n
            else:
                sigma = (m2 / (n - 1.0)) ** 0.5 if n > 1.0 else 0.0
                share = 0.5 * (1.0 + math.erf((threshold - mean) / sigma / math.sqrt(2.0))) if sigma else 0.0
                below[c] = share * n
                above[c] = n - below[c]
        return [below, above]

    def merit(self, before, parts):
        sums = [sum(part.values()) for part in parts]
        total = sum(sums)
        if sum(s / total > self.min_branch_fraction for s in sums) < 2:
            return -math.inf
        if self.split_criterion == "info_gain":
            return (
                self.entropy(before)
                - sum(s * self.entropy(p) for s, p in zip(sums, parts, strict=True)) / total
            )
        if self.split_criterion == "gini":
            return 1.0 - sum(
                s / total * (1.0 - sum((weight / s) ** 2 for weight in p.values()))
                for s, p in zip(sums, parts, strict=True)
                if s > 0.0
            )
        if any(c not in part for part in parts[:2] for c in (0, 1)):
            return 0.0
        totals = [parts[0][c] + parts[1][c] for c in (0, 1)]
        return math.sqrt(
            sum((math.sqrt(p[0] / totals[0]) - math.sqrt(p[1] / totals[1])) ** 2 for p in parts[:2])
        )

    def entropy(self, weights):
        total = sum(weights.values())
        return -sum(w / total * math.log2(w / total) for w in weights.values() if w > 0.0)


# --------------------------------------------------------------------------------------------------
# Drift monitors and adaptive trees: driftmoe/trees/adwin.py, driftmoe/trees/steps.py
# --------------------------------------------------------------------------------------------------


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


# --- the adaptive mixture ---------------------------------------------------------------------------------------------


def gate_slowly(
    outputs,
    votes,
    chosen,
    targets,
    taught,
    n_logits,
    memories,
    memory_weights,
    kinds,
    trust,
    losses,
    weights,
    errors,
    memory_weight_errors,
):
    """What `driftmoe.mixture.gate` does, from the formulas of its documentation."""
    n_rows, n_experts, n_classes = votes.shape
    for row in range(n_rows):
        voters = [e for e in range(n_experts) if votes[row, e].sum() > 0.0]
        scores = outputs[row, :n_logits].astype(float) + memory_weights.astype(float) @ memories
        allowed = [e for e in voters if chosen[row, e]]
        weights[row] = 0.0
        for e in allowed or voters:
            weights[row, e] = math.exp(scores[e]) if allowed else 1.0
        if voters:
            weights[row] /= weights[row].sum()
        if len(targets) == 0 or not voters:
            continue
        everyone = voters + list(range(n_experts, n_logits))
        likelihood = {e: 0.98 * votes[row, e, targets[row]] + 0.02 / n_classes for e in voters}
        mean = sum(likelihood.values()) / len(voters)
        likelihood |= dict.fromkeys(range(n_experts, n_logits), mean)
        total = sum(math.exp(scores[e]) for e in everyone)
        prior = {e: math.exp(scores[e]) / total for e in everyone}
        evidence = sum(prior[e] * likelihood[e] for e in everyone)
        w = taught[row]
        losses[:] = [moved_towards(-math.log(evidence), old, fading**w)
                     for fading, old in zip((0.95, 0.998), losses, strict=True)]  # fmt: skip
        for e in everyone:
            errors[row, e] = w * (prior[e] - prior[e] * likelihood[e] / evidence)
            memory_weight_errors += errors[row, e] * memories[:, e]
        for e in everyone:
            memories[:, e] = [
                moved_towards(math.log(likelihood[e]), memory, fading**w)
                for fading, memory in zip((0.9, 0.98), memories[:, e], strict=True)
            ]
        for kind in {int(kinds[e]) for e in voters}:
            share = sum(prior[e] for e in voters if kinds[e] == kind)
            trust[kind] = moved_towards(share, trust[kind], 0.98**w)


def moved_towards(value, memory, fading):
    """A faded memory after one more value."""
    return fading * memory + (1.0 - fading) * value


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
        best = max((episode["record"] for episode in episodes), default=0.0)
        for v, (likeness, rate) in enumerate(votes):
            near = sorted(
                (
                    squares[i] * math.exp(likeness * (best - episode["record"]))
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
            episode["record"] = 0.95 * episode["record"] + 0.05 * is_right
        if not episodes or len(episodes[-1]["samples"]) == capacity // 32:
            begin_episode_slowly(episodes)
        episodes[-1]["samples"].append(row)
    return proba


def begin_episode_slowly(episodes):
    """Thin the past where there are more than ten episodes of a density, and append an empty one, the 32nd at most."""
    for level in range(len(episodes)):
        alike = [episode for episode in episodes if episode["level"] == level]
        if len(alike) > 10:
            first, second = alike[:2]
            first["samples"] = first["samples"][::2] + second["samples"][::2]
            first["level"] += 1
            first["record"] = (first["record"] + second["record"]) / 2
            episodes.remove(second)
    if len(episodes) == 32:
        del episodes[0]
    record = episodes[-1]["record"] if episodes else 0.0
    episodes.append({"samples": [], "level": 0, "record": record})


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


# --------------------------------------------------------------------------------------------------
# Telemetry: driftmoe/mixture/telemetry.py
# --------------------------------------------------------------------------------------------------


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


# --------------------------------------------------------------------------------------------------
# Layers of experts: driftmoe/nn
# --------------------------------------------------------------------------------------------------


def experts_slowly(x, weights, mask, expert):
    """Weighted sum of what the chosen experts say of each row; `expert(e, row)` is what the e-th says."""
    answers = []
    for t in range(len(x)):
        total = 0.0 * expert(0, x[t])
        for e in range(mask.shape[1]):
            if mask[t, e]:
                total = total + weights[t, e] * expert(e, x[t])
        answers.append(total)
    return torch.stack(answers)


def feed_forward_slowly(row, w_in, w_out, b_in, b_out, activation):
    """One network on one row."""
    hidden = row @ w_in + b_in
    if activation == "swiglu":
        gate, up = hidden[: len(hidden) // 2], hidden[len(hidden) // 2 :]
        hidden = gate / (1 + torch.exp(-gate)) * up
    elif activation == "gelu":
        hidden = hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2
    else:
        hidden = torch.clamp(hidden, min=0)
    return hidden @ w_out + b_out
