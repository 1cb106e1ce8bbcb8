"""`driftmoe keyed`, as people use it; what it promises is tested in tests/engines."""

from __future__ import annotations

import pytest
from commands import driftmoe

SPEC = "moe-data(n_experts=1, top_k=1, hidden=(4,))"


@pytest.fixture
def shops(tmp_path):
    rows = [f"s{i % 5},{i % 7},{'ab'[i % 2]},{'yes' if i % 7 > 3 else 'no'}\n" for i in range(200)]
    (tmp_path / "shops.csv").write_text("shop,x,colour,y\n" + "".join(rows))
    return tmp_path


def test_it_says_how_the_models_did(shops):
    done = driftmoe("keyed", "shops.csv", "--key", "shop", "-m", SPEC, "--checkpoint", "job", cwd=shops)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "shops.csv on local: 5 keys, 200 events, 200 predictions"
    told = [line[:14].strip() for line in lines[1:]]
    assert told == [
        "accuracy", "first 10", "first 100", "first 1,000", "alarms", "", "state", "digest", "", "this command",
        "written",
    ]  # fmt: skip
    assert max(map(len, lines)) <= 80
    assert "class: last column, `y`" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--key", "store"), "--key store: there is no such feature; there are shop, x, colour"),
        (("--key", "shop", "-m", "arf"), "model 'arf' cannot be used for keys: "),
        (("--key", "shop", "-m", "none"), "unknown model 'none'"),
        (
            ("--key", "shop", "--ttl", "soon"),
            "--ttl soon is no time; write a number and s, m, h or d, such as 30d",
        ),
        (("--key", "shop", "--prior", "no.moe"), "no.moe"),
    ],
)
def test_a_mistake_is_one_line(shops, arguments, message):
    done = driftmoe("keyed", "shops.csv", "--checkpoint", "job", "-m", SPEC, *arguments, cwd=shops)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr.splitlines()[-1]
