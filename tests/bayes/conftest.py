"""A tiny real potential and analytic targets; module-level, so that workers can import them."""

from __future__ import annotations

import sys
from pathlib import Path

# spawned workers unpickle factories of tests/bayes/targets.py by this name
sys.path.insert(0, str(Path(__file__).parent))
