"""The command as a process: it ends in one line whenever it is interrupted, from its first moment on."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

import driftmoe


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C cannot be sent to one process there")
@pytest.mark.parametrize("seconds", [0.0, 0.3, 1.0, 2.0, 4.0])
def test_ctrl_c_ends_the_command_in_one_line(seconds, tmp_path):
    # Before Python has come to our first line nobody can hear it: the process says when it has.
    code = (
        "import sys; from driftmoe.__main__ import main; print('here', flush=True);"
        f"sys.argv[1:] = ['evaluate', 'sea_a', '--limit', '2000000', '--out', {str(tmp_path)!r}]; main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "here\n"
    time.sleep(0.02 + seconds)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert "interrupted" in errors


def test_the_module_is_the_command():
    done = subprocess.run([sys.executable, "-m", "driftmoe", "--version"], capture_output=True, text=True)
    assert done.stdout == f"driftmoe {driftmoe.__version__}\n"


def test_the_package_itself_is_light():
    code = (
        "import sys, driftmoe; print([m for m in ('numpy', 'torch', 'numba', 'river') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n"


def test_the_package_names_what_it_has():
    assert {"DriftMoEClassifier", "__version__"} <= set(dir(driftmoe))
    with pytest.raises(AttributeError, match="no attribute 'Classifier'"):
        _ = driftmoe.Classifier
