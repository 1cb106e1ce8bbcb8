"""A user's type checker sees the types of both packages: mypy, as a user would call it, on two small programs."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib

import pytest
from places import ROOT

RIGHT = """
from river import forest

import streams
from driftmoe import DriftMoEClassifier
from driftmoe.evaluation import prequential
from driftmoe.trees import HoeffdingTreeClassifier

stream = streams.make("sea_a", seed=1, n_samples=2000)
model = DriftMoEClassifier(n_experts=4, seed=1)
for other in (HoeffdingTreeClassifier(), forest.ARFClassifier(seed=1)):
    for x, y in stream:
        hit: bool = model.predict_one(x) == y
        model.learn_one(x, y)
        other.predict_one(x)
        other.learn_one(x, y)
features: dict[str, float] = {"attrib1": 3.0, "attrib2": 1.5}
model.learn_one(features, ("any", "label"), w=2.0)
share: float = model.predict_proba_one(features)["yes"]
for checkpoint in prequential(stream, model, window=500):
    accuracy: float = checkpoint.cumulative["accuracy"]
"""

WRONG = {
    'model = DriftMoEClassifier(n_experts="four")': 'Argument "n_experts" to "DriftMoEClassifier"',
    'stream = streams.make("sea_a", n_samples="all")': 'Argument "n_samples" to "make"',
    "model.learn_one([1.0, 2.0], 1)": 'Argument 1 to "learn_one"',
    "model.predict_one()": 'Missing positional argument "x" in call to "predict_one"',
    'prequential(stream, model, window="long")': 'Argument "window" to "prequential"',
}
"""Line of a program -> what mypy must say of it."""


@pytest.fixture(scope="module")
def errors(tmp_path_factory, pytestconfig):
    """What mypy says of both programs, as lines that begin with the name of the file and the number of the line."""
    pytest.importorskip("mypy", reason="mypy comes with driftmoe[dev]")
    folder = tmp_path_factory.mktemp("user")
    # As a user has them: installed, not beside the program, so that only a `py.typed` lets mypy read their types.
    (folder / "right.py").write_text(RIGHT)
    imports = "import streams\nfrom driftmoe import DriftMoEClassifier\nfrom driftmoe.evaluation import prequential\n"
    (folder / "wrong.py").write_text(imports + "\n".join(WRONG) + "\n")
    (folder / "mypy.ini").write_text("[mypy]\nstrict = True\n")
    cache = pytestconfig.cache.mkdir("mypy")  # reading the types of torch and numpy takes most of the time
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MYPY")}
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "--cache-dir", cache, "right.py", "wrong.py"],
        cwd=folder, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout.splitlines()


def test_a_program_that_is_right_has_no_type_error(errors):
    assert [error for error in errors if error.startswith("right.py")] == []


@pytest.mark.parametrize("line", WRONG)
def test_a_wrong_argument_is_a_type_error(errors, line):
    number = 4 + list(WRONG).index(line)
    assert any(error.startswith(f"wrong.py:{number}: error: {WRONG[line]}") for error in errors)


@pytest.mark.parametrize("package", ["driftmoe", "streams"])
def test_a_wheel_holds_the_mark_that_types_may_be_read(package):
    built = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert package in built["packages"]  # all files of these that git does not ignore
    assert (ROOT / package / "py.typed").read_bytes() == b""
