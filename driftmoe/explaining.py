"""Explanations of a mixture's predictions: of one sample, and which features matter at present."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from driftmoe.decisions import Decisions
from driftmoe.encoding import Encoder, Sample
from driftmoe.experts import Batch, Neighbours
from driftmoe.explanation import Condition, Contribution, Explanation, Neighbour, Shared, TreePath, Vote
from driftmoe.mixture import Mixture
from driftmoe.occlusion import contributions, importances, n_drawn

N_VOTES, N_NEIGHBOURS = 6, 5
"""Experts and remembered samples that an explanation names."""


class Importance(NamedTuple):
    """How much the model relies on a feature.

    Attributes
    ----------
    importance
        Mean loss of the true label's probability, -1 to 1, when the feature's values are shuffled.
    spread
        Standard deviation of this loss between shuffles.
    """

    importance: float
    spread: float


class Explained(Decisions):
    """The methods of a classifier that explain it. They change nothing."""

    _encoder: Encoder
    _mixture: Mixture

    def _predict(self, vectors: np.ndarray, samples: Sequence[Sample]) -> np.ndarray:
        raise NotImplementedError

    def explain_one(self, x: Mapping[Any, Any]) -> Explanation:
        """Return why the model answers as it does: experts, tree, similar samples, features. Changes nothing.

        Parameters
        ----------
        x
            A sample, as described in the class docstring. Features may be missing or unknown.

        Returns
        -------
        explanation
            `print` shows it as text of 80 columns, `explanation.to_dict()` gives values for JSON. Before the first
            `learn_one` it says that there is no answer.

        Raises
        ------
        TypeError, ValueError
            If the sample cannot be read; see the class docstring.

        Notes
        -----
        *Contributions.* Each feature in turn takes the values that it had in the most recent samples (128, or fewer if
        there are many features), and the mean probability of the answer is compared with the present one. The method
        is removal by the marginal distribution (Covert, Lundberg & Lee 2021, "Explaining by removing"; Robnik-Šikonja &
        Kononenko 2008). It shows what the model does, not what causes what. Two features that say the same each look
        unimportant, because the other remains; and some combinations of values may never occur.

        *Similar samples* are those of the `"neighbours"` (of the more trusted kind if there are two). Without them they
        are looked for among the most recent samples.

        *Cost.* One prediction for each feature and recent value that differs from the sample's: some 10 ms for ten
        features, and some seconds for a thousand, of which then only eight values each are tried. The work is bounded:
        with several thousand features, or as many inputs, only those whose values are the most unusual are tried, and
        `n_untried` says how many are not. Learning waits meanwhile.

        Examples
        --------
        >>> from river import datasets
        >>> from driftmoe import DriftMoEClassifier
        >>> model = DriftMoEClassifier("moe-vote", n_experts=4, seed=1)
        >>> for x, y in datasets.Phishing():
        ...     model.learn_one(x, "phishing" if y else "fine")
        >>> explanation = model.explain_one(x)
        >>> explanation.label, explanation.contributions[0].feature
        ('fine', 'empty_server_form_handler')
        """
        with self._lock:
            encoder, mixture = self._encoder, self._mixture
            sample = encoder.clean(x)
            columns = {name: column for column, name in enumerate(encoder.features)}
            unknown = tuple(name for name in sample if name not in columns)
            if not encoder.classes:
                return Explanation(None, {}, mixture.log.n_samples, unknown_features=unknown)
            known = encoder.order(sample)
            vector = encoder.vector(known)
            samples = [known] if mixture.reads_samples else []
            (proba,) = self._predict(vector[np.newaxis], samples)
            of_classes = dict(zip(encoder.classes, proba.tolist(), strict=True))
            inputs = encoder.inputs(vector[np.newaxis], is_learning=False)
            batch = Batch(vector[np.newaxis], inputs, samples, len(encoder.classes))
            weights, votes = (one[0] for one in mixture.votes(batch))
            shares = shares_of(weights, votes)
            neighbours, by_relevance = self._similar(inputs[0], shares)
            target = int(self._chosen(proba[np.newaxis], encoder.classes)[0])
            found, n_untried, n_rows = self._contributions(known, vector, target)
            values = encoder.values
            return Explanation(
                label=encoder.classes[target],
                proba=of_classes,
                n_learnt=mixture.log.n_samples,
                votes=self._votes(shares, votes),
                path=self._path(known, vector, shares, votes, target),
                neighbours=neighbours,
                by_relevance=by_relevance,
                contributions=found,
                n_drawn=n_rows,
                n_untried=n_untried,
                unknown_features=unknown,
                unknown_values=tuple(
                    name
                    for name, value in known.items()
                    if value not in (values[columns[name]] or [value]) and name not in encoder.full
                ),
                shared_values=tuple(
                    Shared(name, known[name], list(codes)[int(vector[columns[name]])])
                    for name, codes in encoder.full.items()
                    if name in known and known[name] not in codes
                ),
            )

    def debug_one(self, x: Mapping[Any, Any]) -> str:
        """Return the text of `explain_one(x)`. river's pipelines show it in their own `debug_one`."""
        return str(self.explain_one(x))

    def feature_importances(self, *, n_repeats: int = 5, seed: int = 0) -> dict[Hashable, Importance]:
        """Return how much the present model relies on each feature, the most important first. Changes nothing.

        The values of one feature are shuffled among the most recent samples (128, or fewer if there are many features).
        Its importance is the probability that the true labels lose by it, on average. This is permutation importance
        (Breiman 2001; Fisher, Rudin & Dominici 2019) over a window, so that it follows drift.

        Parameters
        ----------
        n_repeats
            How often each feature is shuffled, at least 1.
        seed
            Seed of the shuffles. The same model and seed give the same figures.

        Returns
        -------
        importances
            {feature: (importance, spread)}: mean and standard deviation over the shuffles. Empty before two samples
            have been learnt.

        Raises
        ------
        TypeError
            If `n_repeats` or `seed` is not an integer.
        ValueError
            If `n_repeats` is below 1 or `seed` below 0.

        Notes
        -----
        The samples have been learnt before. So importance includes what the model knows by heart about them, as
        neighbours do. Features that say the same share their importance, or have little each. Some 0.2 s for ten
        features, ten for a thousand, in which learning waits; less with fewer `n_repeats`. The work is bounded: with
        several thousand features that vary, or as many inputs, those with the most different values are shuffled, and
        a warning says how many others are left out of the result.
        """
        for name, value, least in (("n_repeats", n_repeats, 1), ("seed", seed, 0)):
            if not isinstance(value, int | np.integer) or isinstance(value, bool):
                raise TypeError(f"{name}={value!r} is of type {type(value).__name__}; give an integer")
            if value < least:
                raise ValueError(f"{name}={value}; choose {least} or more")
        with self._lock:
            self._recent.check_kept("feature_importances")
            features = self._encoder.features
            rows, targets = self._recent_rows(int(n_repeats))
            if len(rows) < 2 or not features:
                return {}
            found = importances(
                self._proba_of_vectors,
                rows,
                targets,
                int(n_repeats),
                np.random.default_rng(seed),
                width=self._encoder.n_inputs,
            )
            of_each = {
                name: Importance(float(mean), float(spread))
                for name, mean, spread in zip(features, found.mean(axis=0), found.std(axis=0), strict=True)
                if not np.isnan(mean)
            }
            if len(of_each) < len(features):
                warnings.warn(
                    f"the importances are of {len(of_each):,} of {len(features):,} features, those with the most "
                    "different values lately; there is no time to shuffle the others",
                    stacklevel=2,
                )
            return dict(sorted(of_each.items(), key=lambda item: -item[1].importance))

    def _recent_rows(self, n_repeats: int = 1) -> tuple[np.ndarray, np.ndarray]:
        """Return as many of the recent rows as there is time for, as wide as the encoder's vectors, and targets."""
        n_features = len(self._encoder.features)
        rows, targets = self._recent.grown(n_features).rows()
        first = len(rows) - n_drawn(len(rows), n_features, n_repeats)
        return rows[first:], targets[first:]

    def _contributions(
        self, known: Sample, vector: np.ndarray, target: int
    ) -> tuple[tuple[Contribution, ...], int, int]:
        """Return what each feature adds to the probability of a class.

        Also return for how many features there was no time, and from how many rows values were drawn.
        """
        rows, _ = self._recent_rows()
        if not len(rows) or not len(vector):
            return (), 0, 0
        found = contributions(
            lambda vectors: self._proba_of_vectors(vectors, known, vector),
            vector,
            rows,
            target,
            width=self._encoder.n_inputs,
        )
        n_untried = int(np.isnan(found).sum())
        order = np.argsort(-np.abs(found), kind="stable").tolist()[: len(found) - n_untried]  # NaN come last
        names = self._encoder.features
        tried = tuple(Contribution(names[i], known.get(names[i]), float(found[i])) for i in order)
        return tried, n_untried, len(rows)

    def _proba_of_vectors(
        self, vectors: np.ndarray, sample: Sample | None = None, own: np.ndarray | None = None
    ) -> np.ndarray:
        """Return the class probabilities of vectors, which are made into samples where an expert reads those.

        Where a vector agrees with `own`, the value is that of `sample`.
        """
        if not self._mixture.reads_samples:
            return self._predict(vectors, [])
        names, values = self._encoder.features, self._encoder.values
        samples = []
        for row in vectors:
            one: Sample = {}
            for column, name in enumerate(names):
                number, of = row[column], values[column]
                if own is not None and sample is not None and (number == own[column]):
                    one[name] = sample[name]
                elif not np.isnan(number):
                    one[name] = float(number) if of is None else of[int(number)]
            samples.append(one)
        return self._predict(vectors, samples)

    def _votes(self, shares: np.ndarray, votes: np.ndarray) -> tuple[Vote, ...]:
        """Return the heaviest experts, and the rest as one."""
        labels, names = self._encoder.classes, self._mixture.expert_names(self._encoder.classes)
        order = [e for e in np.argsort(-shares, kind="stable").tolist() if shares[e] > 0.0]
        shown = order if len(order) <= N_VOTES else order[: N_VOTES - 1]
        found = [Vote(names[e], 1, float(shares[e]), said_by(e, votes, labels)) for e in shown]
        if rest := order[len(shown) :]:
            weight, proba = float(shares[rest].sum()), dict[Hashable, float]()
            if votes.ndim == 2:
                mean = shares[rest] @ votes[rest] / weight
                proba = dict(zip(labels, mean.tolist(), strict=True))
            found.append(Vote("others", len(rest), weight, proba))
        return tuple(found)

    def _path(
        self, known: Sample, vector: np.ndarray, shares: np.ndarray, votes: np.ndarray, target: int
    ) -> TreePath | None:
        """Return the way down the tree with the largest weight, or that of the answer where each class has a tree."""
        pool, encoder = self._mixture.experts.pool, self._encoder
        if pool is None or not pool.n_experts or not self._mixture.log.n_samples:
            return None
        expert = int(shares[: pool.n_experts].argmax()) if votes.ndim == 2 else target
        path = pool.path(expert, vector, values=encoder.values)
        classes = self._mixture.classes_of(expert, encoder.classes)
        names = encoder.features
        return TreePath(
            expert=self._mixture.expert_names(encoder.classes)[expert],
            weight=float(shares[expert]),
            conditions=tuple(
                Condition(names[step.column], known.get(names[step.column]), step.test, step.is_met)
                for step in path.steps
            ),
            class_weights={classes[c]: weight for c, weight in path.class_weights.items()},
            proba=said_by(expert, votes, encoder.classes),
            is_of_class=votes.ndim == 1,
        )

    def _similar(self, inputs: np.ndarray, shares: np.ndarray) -> tuple[tuple[Neighbour, ...], bool]:
        """Return the nearest remembered samples, and whether the distance weights features by their relevance."""
        best: tuple[float, Neighbours] | None = None
        first = 0
        for group in self._mixture.groups:
            last = first + group.n_experts
            if isinstance(group, Neighbours) and (best is None or shares[first:last].sum() > best[0]):
                best = float(shares[first:last].sum()), group
            first = last
        if best is not None:
            found = best[1].nearest_to(inputs, N_NEIGHBOURS)
        else:
            rows, targets = self._recent.grown(len(self._encoder.features)).rows()
            differences = self._encoder.inputs(rows, is_learning=False) - inputs
            distances = np.sqrt((differences**2).sum(axis=1))
            ages = np.arange(len(rows), 0, -1)
            order = np.lexsort((ages, distances))[:N_NEIGHBOURS]
            found = targets[order], ages[order], distances[order]
        labels = self._encoder.classes
        neighbours = (
            Neighbour(labels[target], age, distance)
            for target, age, distance in zip(*(one.tolist() for one in found), strict=True)
        )
        return tuple(neighbours), best is not None and best[1].kind == "relevant-neighbours"


def shares_of(weights: np.ndarray, votes: np.ndarray) -> np.ndarray:
    """Return each expert's share of the answer, summing to 1, or all 0 if no expert has a vote.

    Parameters
    ----------
    weights, votes
        Those of one row, as from `Mixture.votes`. Experts that have a vote count the same if none of them has a weight,
        as in `driftmoe.mixture.mixing.mix`.
    """
    if votes.ndim == 1:
        return weights / weights.sum()
    mass = votes.sum(axis=1)
    shares = weights * mass
    if not shares.any():
        shares = mass
    return shares / max(shares.sum(), 1e-300)


def said_by(expert: int, votes: np.ndarray, labels: Sequence[Hashable]) -> dict[Hashable, float]:
    """Return what an expert says: a probability of each class, or of its own."""
    if votes.ndim == 1:
        return {labels[expert]: float(votes[expert])}
    return dict(zip(labels, votes[expert].tolist(), strict=True))
