"""Where the folders of runs are. To look there needs neither torch nor the documents."""

from __future__ import annotations

import logging
from pathlib import Path

from onfly.spec.names import RUN_ID

__all__ = ["RUNS", "run_folders"]

logger = logging.getLogger(__name__)

RUNS = "runs"


def run_folders(root: str | Path) -> list[Path]:
    """Return the folders of runs that have a state under an artifact directory, sorted by name.

    Folders whose name is none of ours, such as copies made by hand, are left out.
    """
    found = []
    for path in sorted((Path(root).expanduser() / RUNS).glob("*/run.json")):
        if RUN_ID.fullmatch(path.parent.name):
            found.append(path.parent)
        else:
            logger.warning("%s is left out: its name is none of a run", path.parent)
    return found
