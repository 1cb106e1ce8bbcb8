"""How the package and its command line start: little is imported, so that Ctrl-C is answered from the first moment."""

from __future__ import annotations

import ast
import os
import re
import signal
import subprocess
import sys
import time
import tomllib

import pytest
from places import ENVIRONMENT, ROOT

import driftmoe
from driftmoe.classifier import DriftMoEClassifier
from driftmoe.cli import command

MODULE, FUNCTION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"][
    "driftmoe"
].split(":")
SCRIPT = f"from {MODULE} import {FUNCTION}\n{FUNCTION}()"
"""What the installed command does."""
SAID = "driftmoe: interrupted\n"


def run(script, *arguments, environment=ENVIRONMENT, **options):
    return subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, env=environment, **options
    )


def came_before_our_code(error):
    """Python is still on its way to `main`, where nothing of ours can catch a signal."""
    ours = set(re.findall(r'/driftmoe/(\w+\.py)"', error))
    return ours <= {"__init__.py", "__main__.py"} and ", in main" not in error


@pytest.mark.parametrize("how", [["-m", "driftmoe"], ["-c", SCRIPT]], ids=["module", "script"])
@pytest.mark.parametrize("delay", [0.1, 0.4, 1.0, 2.0])
def test_ctrl_c_at_some_moment_of_the_start_ends_in_one_line(how, delay):
    process = subprocess.Popen(
        [sys.executable, *how, "streams", "list"],
        env=ENVIRONMENT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    out, error = process.communicate(timeout=120)
    if "Traceback" in error and came_before_our_code(error):
        assert process.returncode in (1, -signal.SIGINT)
    elif out:  # it had done its work; Python no longer listens when it clears its modules away
        assert (process.returncode, error) in [(0, ""), (130, SAID), (-signal.SIGINT, "")]
    elif not error:  # Python itself had no handler yet; a loaded machine takes its time
        assert process.returncode == -signal.SIGINT
        assert delay < 1.0
    else:
        assert (process.returncode, error) == (130, SAID)


@pytest.mark.parametrize(
    "module",
    ["driftmoe.cli", "numba", "numba.core.typing", "torch", "torch.autograd", "pandas", "pyarrow.lib"],
)
def test_ctrl_c_within_an_import_ends_in_one_line(module):
    interrupts = f"""
import os, signal, sys
class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupts())
"""
    done = run(interrupts + SCRIPT, "report", "nowhere")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", SAID)


def test_ctrl_c_within_a_command_ends_in_one_line():
    interrupts = """
import os, signal
from driftmoe.cli import report
report.experiment.read_results = lambda folder: os.kill(os.getpid(), signal.SIGINT)
"""
    done = run(interrupts + SCRIPT, "report", ".")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", SAID)


def test_ctrl_c_while_python_cleans_up_ends_in_one_line():
    interrupts = "import atexit, os, signal\natexit.register(os.kill, os.getpid(), signal.SIGINT)\n"
    done = run(interrupts + SCRIPT, "--version")
    assert (done.returncode, done.stderr) == (130, SAID)
    assert done.stdout == f"driftmoe {driftmoe.__version__}\n"


def test_an_ignored_ctrl_c_stays_ignored():
    """As for a command in the background of a shell script."""
    interrupts = "import atexit, os, signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    interrupts += "atexit.register(os.kill, os.getpid(), signal.SIGINT)\n"
    done = run(interrupts + SCRIPT, "--version")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("file", ["__init__.py", "__main__.py", "exits.py"])
def test_the_start_imports_only_what_python_brings(file):
    for node in ast.parse((ROOT / "driftmoe" / file).read_text()).body:
        if isinstance(node, ast.Import):
            assert {alias.name for alias in node.names} <= sys.stdlib_module_names
        elif isinstance(node, ast.ImportFrom):
            assert node.module.split(".")[0] in sys.stdlib_module_names or node.module == "driftmoe.exits"


@pytest.mark.parametrize("asked", ["--version", "--help"])
def test_what_is_slow_to_import_waits_for_a_command(asked):
    slow = {"torch", "numba", "river", "numpy", "pandas", "matplotlib"}
    script = (
        f"import atexit, sys\natexit.register(lambda: print({slow} & set(sys.modules), file=sys.stderr))\n"
    )
    done = run(script + SCRIPT, asked)
    assert (done.returncode, done.stderr) == (0, "set()\n")


@pytest.mark.parametrize("name", command.COMMANDS)
def test_the_help_of_all_commands_begins_that_of_each(name):
    _, summary = command.COMMANDS[name]
    imported = command._imported(name)
    assert " ".join(imported.help.split("\n\n")[0].split()) == summary


def test_the_package_loads_what_it_offers_when_asked():
    script = """
import sys
import driftmoe
assert not {"torch", "numba", "river", "numpy"} & set(sys.modules)
assert {"DriftMoEClassifier", "__version__", "__all__", "__doc__"} <= set(dir(driftmoe))
assert driftmoe.routing.TopK(2).k == 2
from driftmoe import *
assert DriftMoEClassifier is driftmoe.DriftMoEClassifier
assert "DriftMoEClassifier" in vars(driftmoe)
"""
    done = run(script)
    assert done.returncode == 0, done.stderr


def test_the_package_offers_the_class_itself():
    assert driftmoe.DriftMoEClassifier is DriftMoEClassifier


def test_what_the_package_does_not_offer_is_an_attribute_error():
    for name in ("Classifier", "__wrapped__", "_private"):
        with pytest.raises(AttributeError, match=f"module 'driftmoe' has no attribute '{name}'"):
            getattr(driftmoe, name)
    with pytest.raises(ImportError, match="cannot import name 'Classifier' from 'driftmoe'"):
        from driftmoe import Classifier  # noqa: F401


def test_a_users_streams_py_hides_no_package_from_python_m(tmp_path):
    """`python -m` puts the working folder first in the search for modules, the script does not."""
    (tmp_path / "streams.py").write_text("class Mine: pass\n")
    environment = ENVIRONMENT | {"PYTHONPATH": str(ROOT)}
    for how in (["-m", "driftmoe"], ["-c", SCRIPT.replace("from", "import sys; sys.path[:1] = []\nfrom", 1)]):
        done = subprocess.run(
            [sys.executable, *how, "streams", "list"],
            capture_output=True, text=True, env=environment, cwd=tmp_path,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        assert "sea_a" in done.stdout


def test_what_hides_the_package_streams_all_the_same_is_named_in_one_line(tmp_path):
    (tmp_path / "streams.py").write_text("class Mine: pass\n")
    environment = ENVIRONMENT | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    done = run(SCRIPT, "streams", "list", cwd=ROOT.parent, environment=environment)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"driftmoe: {tmp_path / 'streams.py'} hides the package `streams` of DriftMoE; give it another name, or take "
        "its folder from PYTHONPATH\n"
    )
