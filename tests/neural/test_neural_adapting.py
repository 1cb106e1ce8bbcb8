"""A pretrained model that is adapted."""

from __future__ import annotations

import random

import pytest
import torch
from finished_runs import done

from driftmoe.neural import Setup, adapting, open_experiment, runs
from driftmoe.nn import MoELayer


@pytest.fixture(scope="module")
def adapting_data():
    return open_experiment("adapt", 2, 1)


def test_adapters_leave_the_pretrained_model_as_it_is_at_first_and_freeze_it(adapting_data):
    from transformers import AutoModel

    pretrained = AutoModel.from_pretrained(adapting_data.folder, local_files_only=True)
    training = adapting_data.start(Setup.parsed("TopK(2)"), 1, 2)
    tokens = training._tokens(adapting_data.held_out(12, 1))
    with torch.no_grad():
        adapted = training.model.encoder(**tokens).last_hidden_state
        assert torch.allclose(adapted, pretrained(**tokens).last_hidden_state, atol=1e-6)
    trained = {name for name, p in training.model.named_parameters() if p.requires_grad}
    assert trained
    assert all(".experts." in name or ".router." in name or name.startswith("heads.") for name in trained)


def test_one_lora_has_as_many_ranks_as_all_experts_and_mola_more_above(adapting_data):
    def ranks(setup):
        model = adapting_data.start(Setup.parsed(setup), 1, 2).model
        return [
            m.experts.a.shape[0] * m.experts.a.shape[1] for m in model.modules() if isinstance(m, MoELayer)
        ]

    assert set(ranks("plain")) == set(ranks("TopK(2)")) == {32}
    assert ranks("mola") == [16] * 4 + [32] * 4 + [48] * 4
    assert sum(ranks("mola")) == sum(ranks("plain"))


def test_lines_are_drawn_in_turn_from_all_tasks_and_their_answers_equally(adapting_data):
    lines = adapting_data.draw(2400, random.Random(1))
    assert [task for task, _, _ in lines[:4]] == ["package", "kind", "keyword", "package"]
    kinds = [target for task, target, _ in lines if task == "kind"]
    assert all(200 < kinds.count(target) < 334 for target in range(3))


def test_held_out_lines_are_drawn_once_and_none_of_them_is_learnt(adapting_data):
    held_out = adapting_data.held_out(1536, 1)
    assert len(set(held_out)) == 1536
    assert held_out != adapting_data.held_out(1536, 2)
    learnt = {(task, text) for task, _, text in adapting_data.draw(20_000, random.Random(1))}
    assert not learnt & {(task, text) for task, _, text in held_out}
    for task, classes in adapting_data.classes.items():
        targets = [target for of, target, _ in held_out if of == task]
        counts = [targets.count(target) for target in range(len(classes))]
        assert max(counts) - min(counts) <= 1


def test_padding_does_not_count_as_tokens(adapting_data):
    training = adapting_data.start(Setup.parsed("TopK(2)"), 1, 2)
    lines = adapting_data.held_out(30, 1)
    rows = training._tokens(lines)["attention_mask"].bool()
    assert not rows.all()
    _, _, results = runs.asked(training.model, lambda: training._ask(lines))
    assert all(torch.equal(result.rows, rows) for result in results)
    assert len(runs._of_rows(results[0], "entropy")) == int(rows.sum())


def test_adapters_learn(adapting_data, monkeypatch):
    monkeypatch.setattr(adapting, "N_IN_CURVE", 12)
    monkeypatch.setattr(adapting, "N_IN_VERDICT", 24)
    result, curve = done("adapt", "ADAMOE", n_steps=4)
    assert result["accuracy"] == pytest.approx(
        (result["accuracy_package"] + result["accuracy_kind"] + result["accuracy_keyword"]) / 3
    )
    assert 0.0 < curve[0]["routing_experts_used"] < 4.0
    assert result["expert_flops"] < 12 * 4 * 2 * 2 * 4 * 384 < result["flops"]
