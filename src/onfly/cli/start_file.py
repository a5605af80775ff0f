"""What a run started from, in its folder: with it a run is taken up without any other file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pymatgen.core import Molecule, Structure

from onfly.artifacts.atomic import atomic_write
from onfly.artifacts.files import ArtifactError
from onfly.artifacts.seal import sealed, unsealed
from onfly.artifacts.workspace import RunWorkspace
from onfly.schemas.foreign import refuse_foreign
from onfly.schemas.version import DOC_VERSION, check_version

__all__ = ["Start", "read_start", "write_start"]

FILE = "start.json"


@dataclass(frozen=True)
class Start:
    """Structures, and how the run is done.

    Parameters
    ----------
    structures
        Where the trajectories start.
    mode
        See `onfly.flows.OnTheFlyMaker`.
    """

    structures: tuple[Structure | Molecule, ...]
    mode: Literal["resident", "chained"] = "resident"


def write_start(workspace: RunWorkspace, start: Start) -> None:
    """Write the file."""
    content: dict[str, object] = {"doc_version": DOC_VERSION, "mode": start.mode}
    content |= {"structures": [s.as_dict() for s in start.structures]}
    atomic_write(workspace.folder / FILE, sealed(content))


def read_start(workspace: RunWorkspace) -> Start:
    """Read the file.

    Raises
    ------
    FileNotFoundError
        If there is none.
    ArtifactError
        If it is damaged.
    """
    path = workspace.folder / FILE
    try:
        content = unsealed(path.read_bytes())
        refuse_foreign(content)
        check_version(content.get("doc_version", DOC_VERSION))
        structures = tuple(
            (Molecule if s["@class"] == "Molecule" else Structure).from_dict(s)
            for s in content["structures"]
        )
        mode = content["mode"]
        if mode not in ("resident", "chained") or not structures:
            raise ValueError(f"mode {mode!r} with {len(structures)} structures")
    except FileNotFoundError:
        raise FileNotFoundError(
            f"no run {workspace.run_id} that `onfly run` or `onfly submit` has started in "
            f"{workspace.folder.parent}"
        ) from None
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, OSError) as error:
        raise ArtifactError(
            f"{path} is damaged ({type(error).__name__}: {error}): start the run again under "
            f"another name with `seed_from: [{workspace.run_id}]`"
        ) from error
    return Start(structures, mode)
