"""Where the repository and the vectors of other libraries are, and the environment of commands that tests start."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parent.parent
VECTORS = ROOT / "tests" / "vectors"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
"""That of this process, with the library of this repository before an installed one."""
