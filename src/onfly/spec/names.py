"""Names of runs, which are names of folders too."""

from __future__ import annotations

import re

__all__ = ["RUN_ID", "check_run_id"]

RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}")


def check_run_id(run_id: str) -> None:
    """Raise ValueError if an identifier cannot be the name of a folder."""
    if not RUN_ID.fullmatch(run_id):
        shown = repr(run_id) if len(run_id) < 60 else f"of {len(run_id)} characters"
        raise ValueError(
            f"run_id {shown} cannot name a folder: use at most 200 letters, digits, '.', "
            "'_', '+' and '-', and begin with a letter or digit"
        )
