"""Find the runs that a name or a path stands for."""

from __future__ import annotations

import json
from pathlib import Path

__all__ = ["find_runs"]


def _folders(parent: Path) -> list[Path]:
    return sorted(path.parent for path in parent.glob("*/run.json"))


def _campaign(folder: Path) -> str | None:
    try:
        return json.loads((folder / "run.json").read_text())["posterior"]["campaign"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def find_runs(target: str | Path, root: str | Path) -> tuple[list[Path], bool]:
    """Return folders of runs, and whether a single run was meant.

    Parameters
    ----------
    target
        The folder of a run; a folder that holds runs, directly or under ``runs/``; the
        identifier of a run; or the name of a campaign.
    root
        Artifact directory, where identifiers and campaigns are looked up.

    Returns
    -------
    tuple
        The folders, and whether a single run was meant.

    Raises
    ------
    FileNotFoundError
        If nothing fits; the message lists what there is.

    Examples
    --------
    >>> from onfly.settings import get_settings
    >>> from onfly.testing.models import toy_run, write_toy_run
    >>> root = get_settings().ARTIFACT_DIR
    >>> _ = write_toy_run(root, toy_run("r", campaign="metals"))
    >>> folders, single = find_runs("metals", root)
    >>> [folder.name for folder in folders], single
    (['r'], False)
    """
    path = Path(target).expanduser()
    if (path / "run.json").is_file():
        return [path], True
    for parent in (path / "runs", path):
        if found := _folders(parent):
            return found, False
    known = _folders(Path(root).expanduser() / "runs")
    named = [folder for folder in known if folder.name == str(target)]
    if named:
        return named, True
    campaigns = {folder: _campaign(folder) for folder in known}
    members = [folder for folder, name in campaigns.items() if name == str(target)]
    if members:
        return members, False
    names = sorted({f"campaign {name}" for name in campaigns.values() if name})
    names += [folder.name for folder in known]
    listed = ", ".join(names[:12]) + (" …" if len(names) > 12 else "")
    raise FileNotFoundError(
        f"no run, folder of runs or campaign {str(target)!r}: give the folder of a run, or one of "
        f"those in {Path(root).expanduser()}: {listed or '(none)'}"
    )
