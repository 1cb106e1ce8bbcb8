"""Twin of the Hoeffding trees: `driftmoe/trees/`."""

from __future__ import annotations

import math


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
