from __future__ import annotations

import time
from dataclasses import is_dataclass

import pytest
from river import base

import streams
from driftmoe import moa, models, routing
from driftmoe.mixture import MIXTURES
from driftmoe.routing import (
    Dense,
    EntropyHybrid,
    GroupTopK,
    LinearK,
    Scheduled,
    TopK,
    TopP,
    WithNull,
    WithShared,
)


@pytest.mark.parametrize("name", [name for name in models.MODELS if name not in moa.LEARNERS])
def test_every_model_learns_a_stream_of_numbers_and_text(name):
    if name == "vw":
        pytest.importorskip("vowpalwabbit", reason="the extra driftmoe[vw] is not installed")
    model = models.make(name, seed=1)
    assert isinstance(model, base.Classifier)
    for x, y in streams.make("agrawal", seed=1, n_samples=60):
        model.predict_one(x)
        model.learn_one(x, y)
    assert model.predict_one(x) in (0, 1)


def test_arguments_and_seed_reach_the_model():
    model = models.make("arf(n_models=3, grace_period=20)", seed=5)
    assert (model.n_models, model.grace_period, model.seed) == (3, 20, 5)
    assert models.make("moe-data(seed=9)", seed=5).seed == 9
    assert models.make("moe-data").variant == "moe-data"
    assert models.make("neural(variant='moe-vote', n_experts=3)").variant == "moe-vote"


def test_every_variant_is_a_model_by_its_name():
    assert [models.make(variant).variant for variant in MIXTURES] == list(MIXTURES)


def test_ensembles_have_ten_members_by_default():
    names = ("arf", "srp", "levbag", "ozabag", "ozaboost", "adwinbag", "adwinboost")
    assert {models.make(name).n_models for name in names} == {10}
    assert models.make("amf")["AMFClassifier"].n_estimators == 10
    assert type(models.make("ozabag(model=nb)").model).__name__ == "Pipeline"


def test_models_nest():
    assert [type(e).__name__ for e in models.make("driftmoe(extras=('head', ht))").extras] == [
        "str",
        "HoeffdingTreeClassifier",
    ]
    model = models.make("moe-vote(top_k=1, hidden=(4,), expert=ht(grace_period=77))")
    assert (model.top_k, model.hidden, model.expert.grace_period) == (1, (4,), 77)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "nosuch",
            "unknown model 'nosuch'; there are driftmoe, moe-vote, moe-data, moe-task, small, neural, arf, srp",
        ),
        ("arf(trees=3)", "model 'arf' has no argument 'trees'; there are n_models, max_features"),
        ("arf(3)", "arguments need their names, as in name=value; it takes: n_models"),
        ("nb(a=1)", "model 'nb' has no argument 'a'; there are none"),
        ("moe-data(variant='moe-task')", "has no argument 'variant'"),
        (
            "moe-data(top_k=40)",
            "model 'moe-data': top_k=40 but there are 12 experts; choose 1 <= top_k <= 12",
        ),
        (
            "driftmoe(expert=nosuch())",
            "model 'driftmoe': expert: unknown name 'nosuch'; there are Dense, TopK, .* `driftmoe models` lists all",
        ),
        ("driftmoe(seed=open('x'))", "unknown name 'open'"),
        ("driftmoe(n_experts={[1]:2})", "is not a literal"),
        (
            "driftmoe(top_k=1)",
            "top_k=1 does not apply to variant='driftmoe', where all experts learn; leave it out",
        ),
        (
            "moe-task(n_experts=3)",
            "n_experts=3 does not apply to variant='moe-task', which has one",
        ),
        (
            "moe-vote(policy=Dense, top_k=1)",
            r"top_k=1 does not apply beside policy=Dense\(\), which",
        ),
        (
            "neural(gate='equal', extras=(), hidden=(4,))",
            "hidden=.* does not apply with gate='equal' and",
        ),
        ("driftmoe(dropout='a')", "dropout='a' is of type str; give a number"),
        ("levbag(bagging_method='zz')", "model 'levbag': "),
        ("driftmoe(seed=1+x)", "seed: 1 [+] x is not a literal; give a number, text, a tuple, a model or"),
        ("driftmoe(**{})", "has no argument None"),
        ("arf(n_models=", "cannot be read; write a name"),
        ("arf(n_models=)", r"model 'arf\(n_models=\)' cannot be read"),
        ("arf() or arf()", "cannot be read"),
        ("", "cannot be read"),
        ("STREAM", "unknown model 'STREAM'; there are driftmoe"),
        ("TopK(3)", "unknown model 'TopK'; there are driftmoe"),
        ("driftmoe(policy=TopQ(0.9))", "unknown name 'TopQ'; did you mean 'TopP'"),
        (
            "driftmoe(policy=STREAM(p=1))",
            "policy STREAM is a preset and takes no arguments; write STREAM alone",
        ),
        ("driftmoe(policy=TopK)", "policy TopK: .*'k'; it takes k, renorm, score"),
        ("driftmoe(policy=TopK(0))", "policy TopK: k=0; choose an integer >= 1"),
        ("driftmoe(policy=TopP(q=0.5))", "policy TopP: .*'q'; it takes p, min_k, max_k"),
        ("driftmoe(policy=TopP(p=exit(1)))", "policy TopP: p: unknown name 'exit'"),
        ("driftmoe(policy=TopP(p=1-x))", "policy TopP: p: 1 - x is not a literal"),
        ("driftmoe(policy=WithNull(TopK(**{}), 2))", "policy TopK: .*it takes k"),
        ("driftmoe(policy='TopK(3)')", "policy='TopK[(]3[)]' is not a policy"),
        ("moe-vote(policy=LinearK(1, 2, 3))", "LinearK[(]start=1, stop=2, n_steps=3[)] is not a policy"),
        ("moe-vote(policy=Scheduled(TopK(1), LinearK(1, 13, 5)))", "k=13 but there are 12 experts"),
        ("moe-vote(policy=TopK(30))", "k=30 but there are 12 experts"),
    ],
)
def test_what_cannot_be_made_is_refused_in_one_line(spec, message):
    with pytest.raises(ValueError, match=message) as caught:
        models.make(spec)
    assert "\n" not in str(caught.value)


def test_a_model_with_a_hyphen_nests_and_needs_no_parentheses():
    model = models.make("driftmoe(expert=moe-data(n_experts=2, top_k=1))")
    assert (model.expert.variant, model.expert.n_experts) == ("moe-data", 2)
    assert type(models.make("driftmoe(expert=ht)").expert).__name__ == "HoeffdingTreeClassifier"


@pytest.mark.parametrize(
    ("spec", "policy"),
    [
        ("driftmoe(policy=TopP(p=0.9))", TopP(p=0.9)),
        ("driftmoe(policy=Dense)", Dense()),
        ("moe-vote(policy=WithNull(TopK(k=4), n_null=4))", WithNull(TopK(4), n_null=4)),
        ("moe-data(policy=WithNull(TopK(2), 3, on_empty='best'), seed=3)", WithNull(TopK(2), 3, on_empty="best")),
        ("moe-vote(policy=WithShared(EntropyHybrid(q=2), 1))", WithShared(EntropyHybrid(q=2), 1)),
        ("moe-vote(policy=Scheduled(TopK(1), LinearK(3, 12, n_steps=9)))", Scheduled(TopK(1), LinearK(3, 12, 9))),
        ("moe-vote(policy=GroupTopK(3, n_groups=4, n_kept=2))", GroupTopK(3, n_groups=4, n_kept=2)),
        *((f"driftmoe(policy={name})", preset) for name, preset in models.PRESETS.items()),
    ],
)  # fmt: skip
def test_a_policy_is_named_with_its_arguments_and_learns(spec, policy):
    model = models.make(spec)
    assert model.policy == policy
    for x, y in streams.make("sea", seed=1, n_samples=40):
        model.predict_one(x)
        model.learn_one(x, y)
    assert model.predict_one(x) in (0, 1)


def test_every_policy_and_preset_has_a_name():
    policies = {
        value for value in vars(routing).values() if isinstance(value, type) and "__call__" in vars(value)
        and is_dataclass(value)
    }  # fmt: skip
    assert set(models.POLICIES.values()) == policies
    presets = {name: value for name, value in vars(routing).items() if isinstance(value, tuple(policies))}
    assert presets == models.PRESETS


def test_a_policy_alone_is_read_as_within_a_model():
    assert models.make_policy("WithNull(TopK(4), n_null=4)") == WithNull(TopK(4), n_null=4)
    assert models.make_policy(" STREAM ") is models.PRESETS["STREAM"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("TopQ(2)", "unknown policy 'TopQ'; policies: Dense, TopK, .*; presets: DYNMOLE"),
        ("LinearK(1, 8, n_steps=8)", "unknown policy 'LinearK'"),
        ("TopK(", "cannot be read; write a name, or name"),
        ("TopK()", "policy TopK: .* it takes k, renorm, score"),
        ("DYNMOLE(q=2)", "is a preset and takes no arguments"),
        ("TopK(__import__('os'))", "is not a literal|unknown name"),
    ],
)
def test_policies_that_cannot_be_read_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        models.make_policy(text)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("arf(n_models=9999999999999)", "9,999,999,999,999 experts or members in all"),
        (
            "driftmoe(n_experts=1000000000)",
            "1,000,000,000 experts or members in all .*; choose at most 10,000",
        ),
        ("arf(n_models=1e300)", "experts or members in all"),
        ("ozabag(n_models=200, model=arf(n_models=200))", "40,000 experts or members in all"),
        ("driftmoe(expert=" * 4 + "ht" + ")" * 4, "20,736 experts or members in all"),
        ("driftmoe(expert=" * 60 + "ht" + ")" * 60, "nested too deeply"),
        ("driftmoe(hidden=" + "(" * 60 + "1" + ",)" * 60 + ")", "nested too deeply"),
        ("moe-vote(policy=WithNull(TopK(2), 10000000000))", "experts or members in all"),
        ("moe-vote(policy=WithNull(TopK(2), n_null=10000000000))", "experts or members in all"),
        ("driftmoe(hidden=(8, 10000000000))", "hidden=10000000000; choose at most 10,000"),
        ("neural(expert_hidden=(10000000000,))", "expert_hidden=10000000000; choose at most 10,000"),
        ("driftmoe(batch_size=10000000000)", "batch_size=10000000000; choose at most 1,000,000"),
        ("driftmoe(extras=('knn',), memory=10000000000)", "memory=10000000000; choose at most 1,000,000"),
        ("ht(grace_period=" + "9" * 4000 + ")", "a number of 4000 digits"),
        ("ht(grace_period=" + "9" * 20000 + ")", "characters; write at most 10,000"),
        ("driftmoe(seed=" + "-" * 5000 + "1)", "nested too deeply|cannot be read"),
    ],
)
def test_a_model_that_no_machine_could_hold_is_refused_at_once(spec, message):
    start = time.perf_counter()
    with pytest.raises(ValueError, match=message) as caught:
        models.make(spec)
    assert time.perf_counter() - start < 2.0
    assert len(str(caught.value)) < 11_000


def test_a_policy_that_no_machine_could_hold_is_refused_at_once():
    with pytest.raises(ValueError, match="experts or members in all"):
        models.make_policy("WithNull(TopK(2), n_null=10000000000)")
    with pytest.raises(ValueError, match="nested too deeply"):
        models.make_policy("WithNull(" * 60 + "TopK(2)" + ", 1)" * 60)


def test_large_models_that_a_machine_can_hold_are_made():
    assert models.make("arf(n_models=1000)").n_models == 1000
    assert models.make("ozabag(n_models=30, model=arf(n_models=30))").n_models == 30
    assert models.make("ht(grace_period=1000000000)").grace_period == 10**9
