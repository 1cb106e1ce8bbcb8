"""Variants of experiments: their names, sizes, devices, dialects, and the pictures of what experts are used for."""

from __future__ import annotations

import pytest
import torch

from driftmoe.neural import Setup, language, planned_training, planning, sources
from driftmoe.neural.adapting import Adapting, settings
from driftmoe.neural.conflicting import settings as of_conflict
from driftmoe.neural.sources import Line
from driftmoe.neural.variants import LanguageVariant, language_variant, names_of
from driftmoe.nn import MoELayer
from driftmoe.report import experts_figure

TINY = language.Size(16, 2, 2, 16, context=16, batch=4, rate=2e-3, n_steps=4, n_in_curve=4, n_in_verdict=8)


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setitem(language.SIZES, "small", TINY)
    return language.Language(language_variant("lm-small"))


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, ["lm"]),
        ({"size": "small"}, ["lm-small"]),
        ({"dtype": "bf16"}, ["lm-bf16"]),
        ({"size": "large", "device": "cuda", "dtype": "bf16"}, ["lm-large-cuda-bf16"]),
    ],
)
def test_a_variant_of_lm_is_its_name(options, names):
    assert names_of("lm", **options) == names
    assert language_variant(names[0]) == LanguageVariant(**options)


def test_other_variants():
    assert names_of("adapt", dialects=6) == ["adapt-6-dialects"]
    assert names_of("adapt") == ["adapt"]
    assert names_of("drift") == ["drift-permutation", "drift-rotation", "drift-labels"]
    assert names_of("conflict-mean") == ["conflict-mean"]
    assert names_of("lm-small") == ["lm-small"]
    assert settings("adapt-6-dialects") == settings("adapt") | {"dialects": 6}
    assert of_conflict("conflict-mean")["width"] == 64


@pytest.mark.parametrize(
    ("experiment", "options", "message"),
    [
        ("adapt", {"size": "small"}, "size, device and dtype are of lm, and not of adapt"),
        ("lm", {"dialects": 2}, "dialects=2 is of adapt, and not of lm"),
        ("adapt", {"dialects": 7}, "dialects=7; choose 1 <= dialects <= 6"),
        ("lm", {"size": "huge"}, "size='huge'; available: small, medium, large"),
        ("lm-huge", {}, "unknown experiment 'lm-huge'"),
        ("adapt-7-dialects", {}, "unknown experiment 'adapt-7-dialects'"),
        ("drift", {"minutes": 1.0}, "minutes=1.0 with steps=None of drift; minutes are of lm"),
        ("lm", {"minutes": 1.0, "steps": 3}, "minutes=1.0 with steps=3 of lm"),
    ],
)
def test_variants_that_are_not_there_are_refused(experiment, options, message):
    with pytest.raises(ValueError, match=message):
        planned_training(experiment, ["plain"], [1], **options)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="device='cuda', but torch finds no GPU here"):
        planned_training("lm", ["plain"], [1], steps=2, device="cuda")


@pytest.mark.parametrize("setup", ["TopK(2)", "Dense", "balanced", "plain"])
def test_no_step_of_a_language_model_lets_the_host_wait(tiny, setup, monkeypatch):
    """Tensors without values refuse what would wait for a value: `.item()`, a size that depends on values.

    Policies that choose a number of experts for each row wait once a layer, for the number of pairs.
    """
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda *_: False)  # which does not know this device
    tiny.device, tiny.learnt = torch.device("meta"), tiny.learnt.to("meta")
    training = tiny.start(Setup.parsed(setup), 1, 4)
    training.model.bfloat16()  # for which products by groups are known there, as on a GPU
    assert training.learn(0).device.type == "meta"
    assert training.learn(1).shape == (TINY.batch * TINY.context,)


def test_bf16_is_another_way_to_the_same_and_weights_stay_float32(tiny):
    losses = {}
    for dtype in ("float32", "bf16"):
        tiny.is_bf16 = dtype == "bf16"
        training = tiny.start(Setup.parsed("TopK(2)"), 1, 4)
        losses[dtype] = training.learn(0)
        assert {p.dtype for p in training.model.parameters()} == {torch.float32}
        assert training.verdict()[0]["loss"] == pytest.approx(losses["float32"].mean().item(), rel=0.1)
        assert training.cost.flops > training.cost.expert_flops == 2 * 2 * 2 * 2 * 16 * 16
    assert losses["bf16"].dtype == torch.float32
    assert not torch.equal(losses["bf16"], losses["float32"])
    assert torch.allclose(losses["bf16"], losses["float32"], rtol=0.05)


def test_minutes_become_steps_that_are_rounded_down(tiny, monkeypatch):
    monkeypatch.setattr(planning, "seconds_of_step", lambda training: 0.25)
    runs = planned_training("lm", ["TopK(2)", "plain"], [1, 2], minutes=10, size="small", n_workers=2)
    # 600 s, two workers, two seeds, and a tenth to evaluate: 540 s for steps of 0.25 s of each of two setups.
    assert {run.limit for run in runs} == {1000}
    assert len(runs) == 4
    monkeypatch.undo()
    assert planning.seconds_of_step(tiny.start(Setup.parsed("TopK(2)"), 1, 8)) > 0.0


def test_the_kinds_of_bytes():
    text = b"x_1 = f(\"a#b\")  # it's 2\ny='''a\n\"'''\n\x00\xc3\xa9"
    letters, digits, punctuation, space, strings, comments = range(6)
    kinds = language.kinds_of(text).tolist()
    assert kinds[:3] == [letters, letters, digits]
    assert kinds[4:8] == [punctuation, space, letters, punctuation]
    assert kinds[8:13] == [strings] * 5
    assert kinds[13:16] == [punctuation, space, space]
    assert kinds[16:24] == [comments, space, *[comments] * 4, space, comments]
    assert kinds[24:27] == [space, letters, punctuation]
    assert kinds[27:36] == [strings] * 4 + [space] + [strings] * 4
    assert kinds[36:] == [space, -1, letters, letters]


def test_experts_used_by_layer_and_kind_are_parts_of_those_used(tiny):
    training = tiny.start(Setup.parsed("NULLS"), 1, 4)
    _, routing = training.verdict()
    layers = [routing["experts_used_layer_1"], routing["experts_used_layer_2"]]
    assert sum(layers) / 2 == pytest.approx(routing["experts_used"])
    _, results = training.held_out(TINY.n_in_verdict)
    kinds = torch.cat(
        [
            language._pieces(tiny.kinds, some, TINY.context)[:, :-1]
            for some in training._spaced(TINY.n_in_verdict).split(4 * TINY.batch)
        ]
    )
    is_letter = kinds == 0
    used = torch.stack([result.routing.mask.sum(-1) for result in results])[:, is_letter].double().mean()
    assert routing["experts_used_letters"] == pytest.approx(used.item())
    line = {"model": "NULLS", "routing": routing}
    left, right = experts_figure([line], title="lm").axes
    assert left.lines[0].get_ydata().tolist() == pytest.approx(layers)
    assert right.get_xticklabels()[0].get_text() == "letters"


def test_dialects_give_the_same_lines_labels_in_other_orders(monkeypatch):
    lines = tuple(
        Line(f"{target} {i}", target, is_held_out=i % 2 == 0)
        for i in range(40)
        for target in ("code", "docstring", "comment")
    )
    monkeypatch.setattr(sources, "tasks", lambda: {"kind": lines})
    data = Adapting(6)
    assert len(data.tasks) == 6
    assert set(data.head_of.values()) == {0}
    texts = {task: [line.text for line in lines] for task, lines in data.tasks.items()}
    assert all(of == texts["dialect 1"] for of in texts.values())
    usual = data.tasks["dialect 1"]
    orders = []
    for lines in data.tasks.values():
        said = {(before.target, after.target) for before, after in zip(usual, lines, strict=True)}
        assert len(said) == 3
        orders.append(tuple(sorted(said)))
    assert len(set(orders)) == 6
    assert orders[0] == tuple((label, label) for label in ("code", "comment", "docstring"))
    training = data.start(Setup.parsed("TopK(2)"), 1, 2)
    assert [head.out_features for head in training.model.heads] == [3]
    lines = data.held_out(12, 1)
    rights, losses, _ = training._ask(lines)
    assert len(rights) == len(losses) == 12
    assert sum(isinstance(module, MoELayer) for module in training.model.modules()) == 12


def test_packages_are_only_learnt_and_hold_no_held_out_file(monkeypatch, tmp_path):
    held_out = next(source for source in sources.sources() if source.is_held_out)
    folder = tmp_path / "site-packages"
    (folder / "tests").mkdir(parents=True)
    for path, text in (("a.py", "x = 1\n"), ("copied.py", held_out.text), ("tests/b.py", "y = 2\n")):
        (folder / path).write_text(text, encoding="utf-8")
    monkeypatch.setattr(sources.sys, "path", [str(tmp_path), str(folder)])
    found = sources.packages.__wrapped__()
    assert [(source.path, source.is_held_out) for source in found] == [("a.py", False)]
    monkeypatch.setattr(sources, "packages", lambda: found)
    assert sources.fingerprint.__wrapped__(with_packages=True) != sources.fingerprint()
