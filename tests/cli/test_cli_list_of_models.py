"""`driftmoe models`: the names, arguments and defaults that it lists are those of the library."""

from __future__ import annotations

import inspect

import commands
import pytest

from driftmoe import DriftMoEClassifier, moa, models
from driftmoe.cli.model_arguments import ARGUMENTS
from driftmoe.mixture import MIXTURES


class Words(str):
    """Its repr has no quotes."""

    __repr__ = str.__str__


def arguments_of(name):
    """Arguments of a model with their defaults, as text; those that a variant refuses are left out."""
    parameters = inspect.signature(models.MODELS[name]).parameters
    if name not in MIXTURES and name != "small":
        return {key: repr(p.default) for key, p in parameters.items()}
    settings = models.make(name).settings
    variant = "driftmoe" if name == "small" else name
    of_variants = {key for mixture in MIXTURES.values() for key in mixture.ARGUMENTS}
    if name == "small":
        settings["expert"] = Words(f"a tree of at most {settings['expert'].max_nodes} nodes")
    return {
        key: repr(settings.get(key, p.default))
        for key, p in parameters.items()
        if key in settings or key not in of_variants or key in MIXTURES[variant].ARGUMENTS
    }


@pytest.mark.parametrize("name", [name for name in models.MODELS if name not in moa.LEARNERS])
def test_arguments_and_defaults_are_those_of_the_library(name):
    assert ARGUMENTS[name] == arguments_of(name)


def test_no_argument_that_a_model_takes_is_missing():
    """Each that is not listed is refused by the constructor."""
    for name in MIXTURES:
        for key, parameter in inspect.signature(DriftMoEClassifier).parameters.items():
            if key not in ARGUMENTS[name] and key != "variant":
                value = {"top_k": 2, "n_experts": 4}.get(key, parameter.default or 1)
                with pytest.raises((ValueError, TypeError), match=key):
                    DriftMoEClassifier(name, **{key: value})


def test_every_model_is_listed():
    assert list(ARGUMENTS) == [name for name in models.MODELS if name not in moa.LEARNERS]


def test_the_list_fits_80_columns_and_one_model_can_be_asked_for(tmp_path):
    listed = commands.driftmoe("models", cwd=tmp_path)
    lines = listed.stdout.splitlines()
    assert (listed.returncode, listed.stderr) == (0, "")
    assert max(map(len, lines)) <= 80
    words = listed.stdout.split()
    assert {*models.MODELS, *models.POLICIES, *models.PRESETS} <= {word.strip(",.;") for word in words}
    one = commands.driftmoe("models", "arf", cwd=tmp_path).stdout
    assert one.splitlines()[0] == "arf"
    assert "n_models=10," in one.split()
    assert "srp" not in one.split()
    refused = commands.driftmoe("models", "arff", cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "unknown model 'arff'; did you mean 'arf'" in refused.stderr
