"""An evaluation that was stopped goes on as if it had not been."""

from __future__ import annotations

import copy
import itertools
from dataclasses import fields

import numpy as np
import pytest
from river import linear_model, metrics, naive_bayes, preprocessing

import streams
from driftmoe import DriftMoEClassifier
from driftmoe.evaluation import prequential
from driftmoe.saving.codec import as_json, decoded, encoded
from driftmoe.strict_json import from_json
from driftmoe.trees import HoeffdingTreeClassifier

TIMES = {"seconds", "window_seconds", "cpu_seconds", "ram_hours", "model_bytes", "routing"}


def small():
    return DriftMoEClassifier("moe-data", n_experts=3, hidden=(6,), batch_size=16, seed=1)


def scaled():
    return preprocessing.StandardScaler() | linear_model.LogisticRegression()


PROTOCOLS = {
    "in blocks": (small, {}),
    "in blocks, every step": (small, {"window": 100, "step": 25}),
    "warm start": (small, {"warm_start": 130}),
    "one by one": (HoeffdingTreeClassifier, {"window": 50}),
    "of river": (naive_bayes.GaussianNB, {"count_warm_up": True}),
    "fixed delay": (HoeffdingTreeClassifier, {"delay": 37}),
    "long delay": (HoeffdingTreeClassifier, {"delay": 220, "count_warm_up": True}),
    "random delay": (small, {"delay": (3, 90), "seed": 4}),
    "delay of a function": (HoeffdingTreeClassifier, {"delay": lambda x, y: int(y) * 20}),
    "weights": (HoeffdingTreeClassifier, {"weight": lambda x, y: 1.5 + y}),
    "weights and delays": (HoeffdingTreeClassifier, {"weight": lambda x, y: 1.5, "delay": (0, 60), "seed": 2}),
    "a share of labels": (HoeffdingTreeClassifier, {"label_share": 0.3, "seed": 3}),
    "a share of labels in blocks": (small, {"label_share": 0.4, "delay": (3, 90), "seed": 4, "warm_start": 20}),
    "fading": (small, {"fading": 0.99}),
    "metrics": (scaled, {"metrics": [metrics.F1(), metrics.LogLoss()], "step": 50}),
    "fading metrics": (scaled, {"metrics": metrics.MacroF1(), "fading": 0.9}),
}  # fmt: skip


def stream_of(name):
    """A stream with blocks, or for models that see one sample after the other a list, with an odd last window."""
    stream = streams.make("sea_a", seed=3, n_samples=530)
    return list(stream) if name in ("of river", "metrics", "fading metrics") else stream


def figures_of(checkpoint):
    """All of a checkpoint but times and memory."""
    of_routing = checkpoint.routing and [
        (part.of_all(), part.of_each(), part.n_samples)
        for part in (checkpoint.routing.window, checkpoint.routing.cumulative)
    ]
    plain = {field.name: getattr(checkpoint, field.name) for field in fields(checkpoint)}
    return repr({name: value for name, value in plain.items() if name not in TIMES} | {"routing": of_routing})


@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_rest_is_what_it_would_have_been(name):
    make, protocol = PROTOCOLS[name]
    protocol = {"window": 100, **protocol}
    whole = [figures_of(checkpoint) for checkpoint in prequential(stream_of(name), make(), **protocol)]
    for n_before in range(1, len(whole) + 1):
        model = make()
        evaluation = prequential(stream_of(name), model, **protocol)
        before = [figures_of(checkpoint) for checkpoint in itertools.islice(evaluation, n_before)]
        kept, model = evaluation.state(), copy.deepcopy(model)
        rest = prequential(stream_of(name), model, **protocol, resume_from=kept)
        assert before + [figures_of(checkpoint) for checkpoint in rest] == whole


@pytest.mark.parametrize("name", ["in blocks", "random delay", "weights"])
def test_the_state_is_plain_and_survives_as_text(name):
    make, protocol = PROTOCOLS[name]
    model = make()
    evaluation = prequential(stream_of(name), model, window=100, **protocol)
    first = [figures_of(next(evaluation)) for _ in range(2)]
    document, arrays = encoded(evaluation.state())
    assert not arrays
    kept = decoded(from_json(as_json(document)), {})
    rest = prequential(stream_of(name), copy.deepcopy(model), window=100, **protocol, resume_from=kept)
    assert [*first, *map(figures_of, rest)] == [*first, *map(figures_of, evaluation)]


def test_a_state_stays_as_it_is_while_the_evaluation_goes_on():
    evaluation = prequential(stream_of(""), small(), window=100, metrics=metrics.Recall())
    next(evaluation)
    kept = evaluation.state()
    before = repr(kept["tally"]["total"]), repr(kept["tally"]["metrics"])
    next(evaluation)
    assert (repr(kept["tally"]["total"]), repr(kept["tally"]["metrics"])) == before


def test_times_go_on():
    model = small()
    evaluation = prequential(stream_of(""), model, window=100)
    first = next(evaluation)
    second = next(prequential(stream_of(""), model, window=100, resume_from=evaluation.state()))
    assert second.seconds > first.seconds
    assert second.seconds == pytest.approx(first.seconds + second.window_seconds)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"window": 50}, "window=100, but window=50"),
        ({"step": 50}, "step=100, but step=50"),
        ({"delay": 3}, "delay=0, but delay=3"),
        ({"seed": 1}, "seed=None, but seed=1"),
        ({"count_warm_up": True}, "count_warm_up=False, but count_warm_up=True"),
        ({"fading": 0.5}, "fading=None, but fading=0.5"),
        ({"warm_start": 10}, "warm_start=0, but warm_start=10"),
        ({"label_share": 0.5}, "label_share=1.0, but label_share=0.5"),
        ({"weight": lambda x, y: 1.0}, "weight=None, but weight='a function'"),
    ],
)
def test_another_protocol_is_refused(changed, message):
    evaluation = prequential(stream_of(""), small(), window=100)
    next(evaluation)
    with pytest.raises(ValueError, match=message):
        next(
            prequential(stream_of(""), small(), **{"window": 100, **changed}, resume_from=evaluation.state())
        )


@pytest.mark.parametrize("part", ["scores", "a kappa of them"])
def test_faded_figures_that_another_version_laid_out_are_refused(part):
    model = small()
    evaluation = prequential(stream_of(""), model, window=100, fading=0.99)
    next(evaluation)
    kept = evaluation.state()
    scores = kept["tally"]["recent"].metric
    names = vars(scores if part == "scores" else scores._kappa_o)
    names["_of_yore"] = names.pop(sorted(names)[-1])
    with pytest.raises(ValueError, match="another version of driftmoe"):
        next(prequential(stream_of(""), model, window=100, fading=0.99, resume_from=kept))


def test_a_state_of_an_older_version_was_kept_with_all_labels():
    model = small()
    evaluation = prequential(stream_of(""), model, window=100)
    next(evaluation)
    kept = evaluation.state()
    del kept["protocol"]["label_share"]
    share = next(prequential(stream_of(""), copy.deepcopy(model), window=100, resume_from=kept))
    assert share.n_samples == 200
    with pytest.raises(ValueError, match=r"label_share=1\.0, but label_share=0\.5"):
        next(prequential(stream_of(""), model, window=100, label_share=0.5, resume_from=kept))


@pytest.mark.parametrize("as_stream", [lambda stream: stream, list], ids=["in blocks", "one by one"])
def test_another_stream_is_refused(as_stream):
    model = small()
    evaluation = prequential(as_stream(stream_of("")), model, window=100)
    for _ in range(3):
        next(evaluation)
    state = evaluation.state()
    other = as_stream(streams.make("sea_a", seed=4, n_samples=530))
    with pytest.raises(ValueError, match="the stream is not the one that resume_from has seen"):
        next(prequential(other, model, window=100, resume_from=state))
    short = as_stream(streams.make("sea_a", seed=3, n_samples=250))
    with pytest.raises(ValueError, match="the stream has 250 samples, but resume_from has seen 300"):
        next(prequential(short, model, window=100, resume_from=state))


def test_other_metrics_are_refused():
    samples = list(stream_of(""))
    evaluation = prequential(samples, naive_bayes.GaussianNB(), window=100, metrics=metrics.F1())
    next(evaluation)
    for others in (None, {"F1": metrics.ROCAUC()}, [metrics.F1(), metrics.Recall()]):
        rest = prequential(
            samples, naive_bayes.GaussianNB(), window=100, metrics=others, resume_from=evaluation.state()
        )
        with pytest.raises(ValueError, match="was kept with metrics="):
            next(rest)


def test_another_model_is_refused():
    evaluation = prequential(stream_of(""), small(), window=100)
    next(evaluation)
    for other in (small(), HoeffdingTreeClassifier()):
        with pytest.raises(ValueError, match="was kept with"):
            next(prequential(stream_of(""), other, window=100, resume_from=evaluation.state()))


def test_another_stream_of_weighted_samples_is_refused():
    samples, weight = list(stream_of("")), lambda x, y: 1.5
    evaluation = prequential(samples, HoeffdingTreeClassifier(), window=100, weight=weight)
    next(evaluation)
    flipped = [(x, 1 - y) for x, y in samples]
    rest = prequential(
        flipped, HoeffdingTreeClassifier(), window=100, weight=weight, resume_from=evaluation.state()
    )
    with pytest.raises(ValueError, match="the stream is not the one that resume_from has seen"):
        next(rest)


def test_an_evaluation_that_had_ended_refuses_a_stream_that_goes_on():
    samples, model = list(stream_of("")), small()
    evaluation = prequential(samples[:250], model, window=100)
    assert [checkpoint.n_samples for checkpoint in evaluation] == [100, 200, 250]
    assert list(prequential(samples[:250], model, window=100, resume_from=evaluation.state())) == []
    with pytest.raises(ValueError, match="had reached the end of its stream after 250 samples"):
        next(prequential(samples, model, window=100, resume_from=evaluation.state()))


def test_there_is_no_state_before_the_first_checkpoint_or_after_an_interrupt():
    def broken():
        yield from list(stream_of(""))[:150]
        raise KeyboardInterrupt

    evaluation = prequential(broken(), small(), window=100)
    with pytest.raises(ValueError, match="not at the end of a step, but at sample 0"):
        evaluation.state()
    assert next(evaluation).n_samples == 100
    assert evaluation.has_state
    assert next(evaluation).n_samples == 150
    assert not evaluation.has_state
    with pytest.raises(ValueError, match="not at the end of a step, but at sample 150"):
        evaluation.state()
    with pytest.raises(KeyboardInterrupt):
        next(evaluation)


def test_a_state_with_a_missing_or_unknown_entry_is_refused():
    model = small()
    evaluation = prequential(stream_of(""), model, window=100)
    next(evaluation)
    state = evaluation.state()
    for broken in ({"protocol": state["protocol"]}, state | {"more": 1}):
        with pytest.raises(ValueError, match="the state of an evaluation"):
            next(prequential(stream_of(""), model, window=100, resume_from=broken))
    tally = {name: value for name, value in state["tally"].items() if name != "total"}
    with pytest.raises(ValueError, match="lacks 'total'"):
        next(prequential(stream_of(""), model, window=100, resume_from=state | {"tally": tally}))


def test_labels_of_any_type_survive():
    labels = [("a", 1), "b", 3, "d", 2.5, b"x", True]
    samples = [({"x": float(i % 7)}, labels[i % 7]) for i in range(90)]
    evaluation = prequential(samples, HoeffdingTreeClassifier(), window=30)
    next(evaluation)
    kept = decoded(from_json(as_json(encoded(evaluation.state()).document)), {})
    tree = HoeffdingTreeClassifier()
    for x, y in samples[:30]:
        tree.learn_one(x, y)
    rest = prequential(samples, tree, window=30, resume_from=kept)
    assert np.allclose(
        [c.cumulative["accuracy"] for c in rest], [c.cumulative["accuracy"] for c in evaluation]
    )
