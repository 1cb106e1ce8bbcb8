"""What the command line answers without the libraries that take seconds to import."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from places import ROOT

import streams
from driftmoe import metrics, models, neural
from driftmoe.cli import names
from streams import catalogue, export, files

HEAVY = ("matplotlib", "numba", "numpy", "pandas", "pyarrow", "river", "scipy", "sklearn", "torch")

PROGRAM = """
import sys
sys.argv[0] = "driftmoe"
from driftmoe.__main__ import main
try:
    main()
finally:
    print([name for name in {heavy} if name in sys.modules], file=sys.stderr)
"""


@pytest.mark.parametrize(
    "command",
    [
        "--version", "--help", "streams --help", "streams list", "streams show --help", "evaluate --help",
        "report --help", "grid --help", "neural --help", "model --help", "warm-up --help", "models", "models arf",
        "serve --help", "feed --help", "replay --help", "store --help", "store show --help", "streams plot --help",
        "model explain --help", "streams export --help",
    ],
)  # fmt: skip
def test_help_and_lists_import_nothing_heavy(command):
    program = PROGRAM.format(heavy=HEAVY)
    done = subprocess.run(
        [sys.executable, "-c", program, *command.split()],
        capture_output=True, text=True, cwd=ROOT, env=os.environ | {"COLUMNS": "80"},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "[]\n")
    assert done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "…" not in done.stdout  # no word is cut


@pytest.fixture
def folder(tmp_path):
    """A folder with files of each kind, and another folder."""
    for name in ("a.moe", "led.csv", "notes.pdf"):
        (tmp_path / name).touch()
    (tmp_path / "stored").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("ev", ["evaluate"]),
        ("streams ex", ["export"]),
        ("evaluate --lim", ["--limit"]),
        ("evaluate led", ["led_a", "led_g", "led", "led_drift", "led.csv"]),
        ("evaluate st", ["stagger", "stored/"]),
        ("evaluate -m moe-", ["moe-vote", "moe-data", "moe-task"]),
        ("evaluate --load ", ["a.moe", "stored/"]),
        ("grid led_a wavef", ["waveform", "waveform_drift"]),
        ("grid led_a -m ad", ["adwinbag", "adwinboost"]),
        ("evaluate --metric weighted_f", ["weighted_f1", "weighted_f_beta"]),
        ("grid led --metric ka", ["kappa", "kappa_m", "kappa_t", "kappa_o"]),
        ("streams show sea_", ["sea_a", "sea_g"]),
        ("streams fetch elect", ["electricity"]),
        ("model show ", ["a.moe", "stored/"]),
        ("evaluate --out ", []),  # the shell offers its own
    ],
)
def test_tab_offers_streams_models_and_files_without_the_library(words, offered, folder):
    environment = os.environ | {
        "_DRIFTMOE_COMPLETE": "complete_bash",
        "COMP_WORDS": f"driftmoe {words}",
        "COMP_CWORD": str(len(words.split(" "))),
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(heavy=HEAVY)],
        capture_output=True, text=True, cwd=folder, env=environment,
    )  # fmt: skip
    assert done.stdout.split() == offered
    assert done.stderr == "[]\n"


def test_names_in_help_texts_are_those_of_the_library():
    assert list(names.MODELS) == list(models.MODELS)
    assert list(names.POLICIES) == list(models.POLICIES)
    assert list(names.PRESETS) == list(models.PRESETS)
    assert list(names.METRICS) == list(metrics.NAMED)
    assert names.STANDARD == metrics.STANDARD
    assert list(names.SETUPS) == list(neural.SETUPS)
    assert list(names.CONFLICT_SETUPS) == list(neural.CONFLICT_SETUPS)
    assert list(names.WRITTEN) == list(export.SUFFIXES)
    assert list(names.READ) == list(files.SUFFIXES)


@pytest.mark.parametrize("name", catalogue.SYNTHETIC)
def test_the_list_says_of_a_stream_what_the_stream_says(name):
    stream = streams.make(name)
    width = stream.drifts[0].width if stream.drifts else 0
    assert catalogue.SYNTHETIC[name] == (
        stream.n_features, len(stream.classes), len(stream.drifts), width, stream.desc,
    )  # fmt: skip
    assert stream.n_samples == catalogue.N_SAMPLES


def test_all_synthetic_streams_are_listed_in_order():
    from streams import benchmark, synthetic

    assert list(catalogue.SYNTHETIC) == list(benchmark.STREAMS | synthetic.STREAMS)
    assert catalogue.N_SAMPLES == benchmark.DEFAULT_N_SAMPLES
