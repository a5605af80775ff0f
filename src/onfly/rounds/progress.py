"""What a run is doing just now, in a small file that anybody may read at any time."""

from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path
from typing import Any

__all__ = ["Progress", "read_progress"]

logger = logging.getLogger(__name__)

FILE = "progress.json"
# what readers count with
_NUMBERS = ("trajectory", "md_step", "n_steps_total", "label", "n_labels")


class Progress:
    """Write the present activity of a run, at most a few times a second.

    The file is replaced as a whole but not synced to disk: it is a view, never read by the loop.
    """

    def __init__(self, folder: Path, interval: float = 0.5) -> None:
        self.path = folder / FILE
        self.interval = interval
        self._last = 0.0

    def __call__(self, *, force: bool = False, **values: Any) -> None:
        """Replace the file unless it was written a moment ago."""
        now = time.monotonic()
        if not force and now - self._last < self.interval:
            return
        self._last = now
        temporary = self.path.with_name(f".{FILE}.{os.getpid()}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps({**values, "time": time.time()}))
            temporary.replace(self.path)
        except OSError as error:  # a view is no reason for a run to end
            logger.debug("%s cannot be written: %s", self.path, error)
            temporary.unlink(missing_ok=True)


def read_progress(folder: Path) -> dict[str, Any]:
    """Return the present activity; an empty dictionary if there is none, or the file is damaged."""
    try:
        found = json.loads((folder / FILE).read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(found, dict) or not all(
        isinstance(found.get(name, 0), int | None) for name in _NUMBERS
    ):
        return {}
    return found
