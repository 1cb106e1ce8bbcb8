"""Padding gets no expert and counts in no loss: the attention mask of a model reaches the layers inside it."""

from __future__ import annotations

import contextlib
import copy
import gc
import pickle
import weakref
from functools import partial

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from driftmoe.nn import inject, lora_layer, record
from driftmoe.routing import DYNMOLE, TopK

transformers = pytest.importorskip("transformers", reason="needs the extra dev")

LORA = partial(lora_layer, policy=TopK(2), rank=2)
SIZES = {"vocab_size": 50, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}
IDS = torch.arange(24).reshape(2, 12)


def masked(row, *places):
    mask = torch.ones(2, 12, dtype=torch.long)
    mask[row, list(places)] = 0
    return mask


RIGHT, LEFT = masked(1, *range(7, 12)), masked(1, *range(5))


def bert(make=LORA, n_layers=2):
    torch.manual_seed(0)
    config = transformers.BertConfig(num_hidden_layers=n_layers, **SIZES)
    model = transformers.BertModel(config, add_pooling_layer=False).eval()
    inject(model, ("query", "intermediate.dense"), make, n_experts=4, seed=1)
    for name, parameter in model.named_parameters():
        if name.endswith("experts.b"):
            nn.init.normal_(parameter, generator=torch.Generator().manual_seed(len(name)))
    return model


def rows(model, *args, **kwargs):
    with record(model) as records:
        model(*args, **kwargs)
    return [result.rows for _, result in records]


@pytest.mark.parametrize(
    "call",
    [
        lambda model: rows(model, input_ids=IDS, attention_mask=RIGHT),
        lambda model: rows(model, IDS, RIGHT.bool()),
        lambda model: rows(model, inputs_embeds=model.get_input_embeddings()(IDS), attention_mask=RIGHT),
        lambda model: rows(pickle.loads(pickle.dumps(copy.deepcopy(model))), IDS, attention_mask=RIGHT),
        lambda model: (inject(model, "value", LORA, n_experts=2), rows(model, IDS, RIGHT))[1],
    ],
    ids=["names", "places", "embeddings", "copies", "injected again"],
)
def test_layers_see_the_mask_of_their_model(call):
    found = call(bert())
    assert len(found) >= 4
    assert all(torch.equal(of_layer, RIGHT.bool()) for of_layer in found)


def test_without_a_mask_all_rows_count():
    model = bert()
    assert rows(model, IDS) == rows(model, IDS, RIGHT[:, None, None, :].bool()) == [None] * 4
    assert rows(model.encoder, torch.ones(2, 12, 16)) == [None] * 4


def test_padding_changes_no_loss_and_no_answer():
    """A line alone, and the same line beside a longer one."""
    model, (short, padded) = bert(partial(LORA, policy=DYNMOLE)), (IDS[1:, :7], IDS)
    with record(model) as alone:
        expected = model(input_ids=short).last_hidden_state
    mask = RIGHT.clone()
    with record(model) as beside:
        answer = model(input_ids=padded[[1, 1]], attention_mask=mask[[1, 1]]).last_hidden_state
    torch.testing.assert_close(answer[0, :7], expected[0], rtol=1e-4, atol=1e-5)
    for (_, one), (_, two) in zip(alone, beside, strict=True):
        assert not two.routing.mask[:, 7:].any()
        for name, loss in one.losses.items():
            torch.testing.assert_close(two.losses[name], loss, rtol=1e-4, atol=1e-5)


def test_tokens_generated_with_a_cache_have_the_last_positions_of_the_mask():
    torch.manual_seed(0)
    config = transformers.LlamaConfig(num_hidden_layers=1, **SIZES)
    model = transformers.LlamaForCausalLM(config).eval()
    inject(model, ("q_proj", "mlp.down_proj"), LORA, n_experts=4, seed=1)
    with record(model) as records:
        model.generate(
            input_ids=IDS,
            attention_mask=LEFT,
            max_new_tokens=3,
            min_new_tokens=3,
            do_sample=False,
            pad_token_id=0,
        )
    found = [result.rows for _, result in records]
    assert all(torch.equal(of_layer, LEFT.bool()) for of_layer in found[:2])
    assert [of_layer.tolist() for of_layer in found[2:]] == [[[True], [True]]] * 4


def test_encoder_and_decoder_have_masks_of_their_own():
    """The keys of cross-attention are made of the encoder's states, here as many as the decoder's."""
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=50, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, decoder_start_token_id=0
    )
    model = transformers.T5ForConditionalGeneration(config).eval()
    inject(model, "k", LORA, n_experts=4, seed=1)
    inputs = {"input_ids": IDS, "attention_mask": RIGHT, "decoder_input_ids": IDS}
    in_encoder, in_decoder, across = rows(model, **inputs, decoder_attention_mask=LEFT)
    assert torch.equal(in_encoder, RIGHT.bool())
    assert torch.equal(in_decoder, LEFT.bool())
    assert torch.equal(across, RIGHT.bool())
    in_encoder, in_decoder, across = rows(model, **inputs)
    assert in_decoder is None
    assert torch.equal(across, RIGHT.bool())


class Flat(nn.Module):
    """A model that is not of transformers, and flattens its rows."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x, attention_mask=None):
        return self.inner(x.flatten(0, 1)) if x.dim() == 3 else self.inner(x)


def test_rows_may_be_flattened_and_other_shapes_have_no_mask():
    model, x = Flat(), torch.ones(2, 12, 4)
    inject(model, "inner", LORA, n_experts=4, seed=1)
    (found,) = rows(model, x, attention_mask=RIGHT)
    assert torch.equal(found, RIGHT.bool().flatten())
    assert rows(model, x[:, :, None], attention_mask=RIGHT) == [None]
    assert rows(model, x, attention_mask=RIGHT[:, :7]) == [None]


def test_an_interrupted_call_is_forgotten(monkeypatch):
    model = bert()
    monkeypatch.setattr(model.encoder, "forward", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        model(IDS, RIGHT)
    monkeypatch.undo()
    assert torch.equal(rows(model, IDS, LEFT)[0], LEFT.bool())
    assert rows(model.encoder, torch.ones(2, 12, 16)) == [None] * 4


class Checkpointed(nn.Module):
    """Two layers, each of which a checkpoint may compute again during backward."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.inner = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
        self.reentrant = None

    def forward(self, x, attention_mask):
        is_plain = self.reentrant is None or not torch.is_grad_enabled()
        for layer in self.inner:
            x = layer(x) if is_plain else checkpoint(layer, x, use_reentrant=self.reentrant)
        return x[attention_mask.bool()]


def gradients(model, *masks, eval_between=False):
    x = torch.linspace(-1.0, 1.0, 96).reshape(2, 12, 4).requires_grad_()
    model.zero_grad()
    outs = [model(x, mask) for mask in masks]
    if eval_between:
        with torch.no_grad():
            model(x, LEFT)
    sum(out.square().mean() for out in outs).backward()
    return [p.grad.clone() for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("reentrant", [True, False])
def test_layers_that_a_checkpoint_computes_again_have_the_rows_of_the_first_time(reentrant):
    model = Checkpointed()
    for layer in inject(model, ("inner.0", "inner.1"), LORA, n_experts=4, seed=1).values():
        nn.init.constant_(layer.experts.b, 0.1)
    expected = gradients(model, RIGHT)
    assert any(one.any() for one in expected)
    model.reentrant = reentrant
    for eval_between in (False, True):
        for one, two in zip(gradients(model, RIGHT, eval_between=eval_between), expected, strict=True):
            torch.testing.assert_close(one, two)
    for one, two in zip(gradients(model, RIGHT), expected, strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpoints_of_several_forward_passes_have_the_rows_of_their_own(reentrant):
    """Two lines whose answers are compared, a forward pass that no loss is made of, and two backward passes."""
    model = Checkpointed()
    for layer in inject(model, ("inner.0", "inner.1"), LORA, n_experts=4, seed=1).values():
        nn.init.constant_(layer.experts.b, 0.1)
    apart = [gradients(model, RIGHT), gradients(model, LEFT)]
    model.reentrant = reentrant
    for one, *two in zip(gradients(model, RIGHT, LEFT), *apart, strict=True):
        torch.testing.assert_close(one, sum(two))
    x = torch.linspace(-1.0, 1.0, 96).reshape(2, 12, 4).requires_grad_()
    model.zero_grad()
    loss, _ = model(x, RIGHT).square().mean(), model(x, LEFT)
    for times in (1.0, 2.0):
        loss.backward(retain_graph=not reentrant)
        for p, once in zip([p for p in model.parameters() if p.grad is not None], apart[0], strict=True):
            torch.testing.assert_close(p.grad, times * once)
        if reentrant:  # whose graph is gone
            break


def test_a_checkpoint_whose_forward_pass_cannot_be_told_is_refused():
    model = Checkpointed()
    inject(model, ("inner.0", "inner.1"), LORA, n_experts=4, seed=1)
    model.reentrant = False
    with record(model) as records:
        model(torch.ones(2, 12, 4), RIGHT)
    loss = sum(result.losses["router_z"] for _, result in records)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="let the loss depend on the output, or turn checkpointing off"):
        loss.backward()


def test_what_lies_behind_encoder_and_decoder_does_not_have_the_mask_of_the_encoder():
    torch.manual_seed(0)
    config = transformers.T5Config(
        vocab_size=50, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, decoder_start_token_id=0,
        pad_token_id=0, tie_word_embeddings=False,
    )  # fmt: skip
    model = transformers.T5ForConditionalGeneration(config).eval()
    inject(model, "lm_head", LORA, n_experts=4, seed=1)
    assert rows(model, input_ids=IDS, attention_mask=RIGHT, decoder_input_ids=IDS) == [None]
    assert rows(model, input_ids=IDS, attention_mask=RIGHT, labels=IDS) == [None]


def test_replicas_of_layers_are_not_kept():
    """DataParallel makes new ones for each forward pass."""
    model = Flat()
    inject(model, "inner", LORA, n_experts=4, seed=1)
    replica = model._replicate_for_data_parallel()
    replica.inner = model.inner._replicate_for_data_parallel()
    replica(torch.ones(2, 12, 4), RIGHT)
    gone = weakref.ref(replica.inner)
    del replica
    gc.collect()
    assert gone() is None


def test_a_call_that_another_hook_ends_leaves_the_outer_call_alone():
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.after = Flat(), nn.Linear(4, 4)
            self.inner.main_input_name = "x"

        def forward(self, x, attention_mask):
            with contextlib.suppress(ZeroDivisionError):
                x = self.inner(x, attention_mask)
            return self.after(x)

    model = Outer()
    model.inner.register_forward_pre_hook(lambda *_: 1 / 0)
    inject(model, "after", LORA, n_experts=4, seed=1)
    (found,) = rows(model, torch.ones(2, 12, 4), RIGHT)
    assert torch.equal(found, RIGHT.bool())
