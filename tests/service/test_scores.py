"""Figures over the window equal those of the library's metrics on the same samples."""

from __future__ import annotations

import json
import random

import pytest

from driftmoe.metrics import ExpectedCalibrationError, KappaM
from driftmoe.service.scores import WINDOW, Answer, Scores


def scored(n, seed=1):
    """Return scores of random answers, and the answers with their labels."""
    rng, scores, said = random.Random(seed), Scores(), []
    for i in range(n):
        p = rng.choice([0.5, 0.61, 0.75, 0.9, 1.0])
        answer = Answer.of({"a": p, "b": 1.0 - p} if rng.random() < 0.6 else {"a": 1.0 - p, "b": p}, scores)
        label = rng.choice("aab")
        scores.add(f"id {i}", f'{{"features":{{"x":{i}}}}}', label, answer, 1.0)
        said.append((label, answer))
    return scores, said


def test_figures_equal_those_of_the_metrics():
    scores, said = scored(WINDOW)
    figures, ece = scores.figures(), ExpectedCalibrationError(n_bins=15)
    for label, answer in said:
        ece.update(label, answer.proba)
    assert figures["ece"] == pytest.approx(ece.get())
    right = sum(answer.label == label for label, answer in said) / WINDOW
    no_change = sum(answer.no_change == label for label, answer in said) / WINDOW
    majority = sum(answer.majority == label for label, answer in said) / WINDOW
    _, *later = said  # of the first it cannot say anything
    markov = sum(answer.markov == label for label, answer in later) / len(later)
    right_later = sum(answer.label == label for label, answer in later) / len(later)
    assert (figures["accuracy"], figures["no_change"], figures["majority"]) == (right, no_change, majority)
    assert figures["markov"] == markov
    assert figures["kappa_o"] == pytest.approx((right_later - markov) / (1 - markov))
    assert figures["kappa_t"] == pytest.approx((right - no_change) / (1 - no_change))
    assert figures["kappa_m"] == pytest.approx((right - majority) / (1 - majority))


def test_kappa_m_is_near_that_of_the_library():
    scores, said = scored(WINDOW)
    metric = KappaM()
    for label, answer in said:
        metric.update(label, answer.label)
    assert scores.figures()["kappa_m"] == pytest.approx(
        metric.get(), abs=0.02
    )  # the baseline has to learn its class


def test_the_third_baseline_knows_which_label_follows_which():
    scores, said = Scores(), []
    for label in "abcabcacb":
        answer = Answer.of({"a": 1.0}, scores)
        scores.add(None, "{}", label, answer, 1.0)
        said.append(answer.markov)
    # The most frequent one while nothing has followed the last: "a". In the end "b", "a" and "c" follow one another.
    assert said == [None, "a", "a", "a", "b", "c", "a", "b", "a"]


def test_scores_of_an_older_version_go_on_without_the_third_baseline():
    scores, _ = scored(300)
    old = json.loads(scores.to_json())
    del old["succession"]
    old["window"] = [one[:6] for one in old["window"]]
    answer = json.loads(Answer("a", {"a": 1.0}, "a", "a").to_json())[:5]
    again = Scores.from_json(json.dumps(old))
    again.add("x", "{}", "a", Answer.from_json(json.dumps(answer)), 1.0)
    figures = again.figures()
    assert figures["markov"] is figures["kappa_o"] is None
    assert figures["majority"] > 0.0
    for _ in range(WINDOW):
        again.add("x", "{}", "a", Answer.of({"a": 1.0}, again), 1.0)
    assert again.figures()["markov"] == 1.0


def test_the_window_forgets():
    scores, _ = scored(WINDOW)
    for _ in range(WINDOW):
        scores.add(None, "{}", "a", Answer("a", {"a": 1.0}, "a", "a"), 1.0)
    figures = scores.figures()
    assert (figures["accuracy"], figures["ece"], figures["window"]) == (1.0, 0.0, WINDOW)
    assert figures["kappa_m"] is None  # the majority is always right, too
    assert figures["n_scored"] == 2 * WINDOW


def test_scores_go_on_from_their_json():
    scores, said = scored(300)
    again = Scores.from_json(scores.to_json())
    assert again == scores
    for label, answer in said:
        for one in (scores, again):
            one.add("x", "{}", label, answer, 1.0)
    assert again == scores


@pytest.mark.parametrize("labels", [(True, 1, "1", "true", 1.5), ("ä\u2028", 'quote"', "\\", "", "\x00")])
def test_an_answer_goes_on_from_its_json(labels):
    for label in labels:
        answer = Answer(label, {label: 0.1 + 0.2, "other": 1e-300}, label, None)
        again = Answer.from_json(answer.to_json())
        assert again == answer
        assert type(again.label) is type(label)


def test_only_the_most_probable_classes_are_kept():
    proba = {i: i / 4950.0 for i in range(100)}
    answer = Answer.of(proba, Scores())
    assert list(answer.proba) == list(range(99, 79, -1))
    assert answer.label == 99


def test_nothing_is_said_before_the_first_label():
    figures = Scores().figures()
    assert (figures["window"], figures["accuracy"], figures["ece"]) == (0, None, None)
    scores = Scores()
    scores.add(None, "{}", "a", Answer(None, {}), 1.0)  # the model knew no class
    assert (scores.n_learnt, scores.n_scored, scores.last_label) == (1, 0, "a")
    scores.add(None, "{}", "b", Answer("a", {"a": 1.0}, "a", "a"), 0.0)  # of weight 0: scored, not learnt
    assert (scores.n_learnt, scores.n_scored, scores.last_label) == (1, 1, "a")


def test_of_an_endless_stream_of_labels_the_first_are_counted(monkeypatch):
    monkeypatch.setattr("driftmoe.service.scores.MOST_LABELS", 3)
    scores = Scores()
    for label in (*"abcdefgh", *"bbzz"):
        scores.add(None, "{}", label, None, 1.0)
    assert scores.counts == {"a": 1, "b": 3, "c": 1}
    assert (scores.n_learnt, scores.last_label, scores.most_frequent) == (12, "z", "b")


def test_mistakes_are_kept():
    scores = Scores()
    scores.add("m", '{"features":{"x":1}}', "b", Answer("a", {"a": 0.75, "b": 0.25}), 1.0)
    scores.add("r", '{"features":{"x":1}}', "a", Answer("a", {"a": 0.75, "b": 0.25}), 1.0)
    assert list(scores.mistakes) == [
        {
            "id": "m", "label": "b", "predicted": "a", "probabilities": {"a": 0.75, "b": 0.25},
            "event": '{"features":{"x":1}}',
        }
    ]  # fmt: skip
