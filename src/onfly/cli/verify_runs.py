"""What is damaged or missing in the folders of the runs, and what can be made again from what."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from onfly.artifacts.blobs import ensemble_files
from onfly.artifacts.damage import Problem
from onfly.artifacts.files import ArtifactError
from onfly.artifacts.workspace import RUN_ID, RUNS, RunWorkspace
from onfly.cli.start_file import FILE as START
from onfly.cli.start_file import read_start
from onfly.labels.errors import LabelError
from onfly.labels.store import LabelStore
from onfly.library.loading import read_document
from onfly.proof import Ledger
from onfly.rounds.progress import FILE as PROGRESS
from onfly.rounds.progress import read_progress
from onfly.rounds.recorder import COLUMNS
from onfly.schemas import ArtifactRef, FineTunedModelDoc, RequestDoc, RunState

__all__ = ["verify_runs"]

_AGAIN = (
    "labels and ledger beside it are files of their own: start the run again under another name "
    "with `seed_from: [{run_id}]`, and none is paid for twice"
)
_GOES_ON = "nothing is lost: delete it; a run that goes on writes it anew"


def verify_runs(root: Path, labels: LabelStore) -> Iterator[Problem]:
    """Yield the problems of all folders under an artifact directory.

    Parameters
    ----------
    root
        The artifact directory.
    labels
        Its store of labels.
    """
    parent = root / RUNS
    for folder in sorted(parent.iterdir()) if parent.is_dir() else ():
        if not folder.is_dir():
            continue
        if not RUN_ID.fullmatch(folder.name):
            message = "its name is none of a run, so it is left out everywhere"
            yield Problem(str(folder), message, "rename it, or move it away", "warning")
            continue
        yield from _run(RunWorkspace(root, folder.name), labels)
    for path in sorted((root / "campaigns").glob("*.json")):
        yield from _json(path, "`onfly submit` the campaign again: it writes it anew", "error")


def _run(workspace: RunWorkspace, labels: LabelStore) -> Iterator[Problem]:
    folder = workspace.folder
    if not any(path.is_file() for path in folder.rglob("*")):
        return  # made, and left before anything was written
    state: RunState | None = None
    try:
        state = workspace.read_state()
    except FileNotFoundError:
        yield _no_state(workspace)
    except ArtifactError as error:
        yield _of_error(folder / "run.json", error, _AGAIN.format(run_id=workspace.run_id))
    if state is not None and state.run_id != workspace.run_id:
        message = f"it is the state of run {state.run_id}"
        yield Problem(str(folder / "run.json"), message, "give the folder its own name back")
        state = None
    if (folder / START).exists():
        try:
            read_start(workspace)
        except ArtifactError as error:
            yield _of_error(folder / START, error, _AGAIN.format(run_id=workspace.run_id))
    yield from _ledger(workspace, state, labels)
    yield from _small_files(workspace, labels)
    for index, path in _numbered(folder / "trajectories"):
        yield from _trajectory(workspace, index, path)
    yield from _large_files(workspace, state)
    if (path := folder / "model.json").exists():
        try:
            read_document(FineTunedModelDoc, path)
        except (ArtifactError, OSError) as error:
            remedy = f"`onfly resume {workspace.run_id}`, or take the model from the library"
            yield _of_error(path, error, remedy)


def _no_state(workspace: RunWorkspace) -> Problem:
    path = str(workspace.folder / "run.json")
    if workspace.ledger_path.exists():
        return Problem(path, "is missing", _AGAIN.format(run_id=workspace.run_id))
    remedy = f"`onfly run` it again with `--run-id {workspace.run_id}`: nothing was paid for yet"
    return Problem(path, "is missing: the run ended before it began", remedy, "warning")


def _of_error(path: Path, error: Exception, remedy: str) -> Problem:
    """Return a problem without what the message says of the path and of remedies."""
    text = str(error).replace(str(path), "").strip().split(". Labels and ledger")[0]
    return Problem(str(path), text.splitlines()[0], remedy)


def _ledger(
    workspace: RunWorkspace, state: RunState | None, labels: LabelStore
) -> Iterator[Problem]:
    path = workspace.ledger_path
    if state is not None:
        count = state.posterior.n_records
    elif path.is_file():
        # without a state nobody knows how many lines count
        count = path.read_bytes().count(b"\n")
    else:
        return
    try:
        ledger: Ledger = workspace.read_ledger(count)
    except ArtifactError as error:
        remedy = (
            "take it from a backup; without it the run cannot go on: its labels are sound, so "
            "start it again under another name, and they are found by their configurations"
        )
        yield _of_error(path, error, remedy)
        return
    for entry in ledger.entries:
        if not entry.label:
            continue
        try:
            labels.get(entry.label)
        except LabelError as error:
            message = f"label {entry.label[:12]} of record {entry.index} cannot be used"
            remedy = (
                "`onfly.library.restore_labels()` writes it again if the library has it; "
                "otherwise take the file from a backup"
            )
            yield Problem(str(path), f"{message} ({error.reason})", remedy)


def _small_files(workspace: RunWorkspace, labels: LabelStore) -> Iterator[Problem]:
    folder = workspace.folder
    for path in _visible(folder / "answers"):
        answer = workspace.read_answer(path.stem)
        key = None if answer is None else answer.get("label")
        if answer is None:
            remedy = "delete it: the label is found by its configuration, or computed again"
            yield Problem(str(path), "is damaged", remedy, "warning")
        elif isinstance(key, str) and key not in labels:
            message = f"names the label {key[:12]}, which cannot be used"
            yield Problem(str(path), message, "delete it: the label is computed again", "warning")
    for path in _visible(folder / "training"):
        remedy = "delete it: only the report shows it"
        yield from _json(path, remedy, "warning")
    progress = folder / PROGRESS
    if progress.exists() and not read_progress(folder):
        yield Problem(str(progress), "is damaged", _GOES_ON, "warning")


def _trajectory(workspace: RunWorkspace, index: int, folder: Path) -> Iterator[Problem]:
    path = folder / "checkpoint.json"
    if path.exists():
        remedy = "nothing is lost: the segment begins again at the state that the run has written"
        try:
            content = json.loads(path.read_bytes())
            ref = ArtifactRef(**content["md_state"])
            numbers = [content[key] for key in ("segment", "thermo_bytes", "frames_bytes")]
            if not all(isinstance(number, int) for number in numbers):
                raise ValueError("a number is missing")
            [RequestDoc(**request) for request in content["requests"]]
            workspace.store.path(ref)
        except (KeyError, TypeError, ValueError, OSError, RecursionError) as error:
            what = str(error).splitlines()[0] if str(error) else type(error).__name__
            yield Problem(str(path), f"is damaged ({what})", remedy, "warning")
    width = len(COLUMNS.split(","))
    for table in workspace.trajectory(index).thermo_files():
        try:
            rows = table.read_text().splitlines()
        except (OSError, ValueError) as error:
            remedy = "delete it: reports and analysis read it, the run does not"
            yield Problem(str(table), f"is damaged ({error})", remedy, "warning")
            continue
        if any(len(row.split(",")) != width for row in rows):
            remedy = "delete the rows: reports and analysis read it, the run does not"
            yield Problem(str(table), "has rows that are no rows of a table", remedy, "warning")


def _large_files(workspace: RunWorkspace, state: RunState | None) -> Iterator[Problem]:
    """Compare weights and MD states with the sha256 in their names; those in use must be there."""
    used: dict[str, str] = {}
    for what, ref in () if state is None else _references(state):
        try:
            file = workspace.store.path(ref)
        except ArtifactError as error:
            yield Problem(str(workspace.folder / "run.json"), str(error), "take it from a backup")
            continue
        used[ref.path] = what
        if not file.is_file():
            yield Problem(str(file), f"is missing: {what}", _weights(workspace))
    for name in ("ensembles", "md"):
        for path in _visible(workspace.folder / name):
            if _digest(path) == path.name.partition(".")[0]:
                continue
            relative = path.relative_to(workspace.store.root).as_posix()
            if relative in used:
                message = f"was changed: {used[relative]}"
                yield Problem(str(path), message, _weights(workspace))
            else:
                remedy = "delete it: the present state of the run does not use it"
                yield Problem(str(path), "was changed", remedy, "warning")


def _references(state: RunState) -> Iterator[tuple[str, ArtifactRef]]:
    ensemble = state.posterior.ensemble
    if ensemble is not None:
        for ref in ensemble_files(ensemble):
            yield "weights of the present ensemble", ref
    if state.posterior.refit is not None:
        for ref in ensemble_files(state.posterior.refit):
            yield "weights fitted to all labels", ref
    for trajectory in state.trajectories:
        yield f"MD state of trajectory {trajectory.index}", trajectory.md_state
    for request in state.requests:
        yield f"configuration of request {request.key}", request.structure


def _weights(workspace: RunWorkspace) -> str:
    return (
        "`onfly.library.repair_model(MODEL_ID)` writes weights of a published model again; "
        + _AGAIN.format(run_id=workspace.run_id)
    )


def _json(path: Path, remedy: str, level: Any) -> Iterator[Problem]:
    try:
        if not isinstance(json.loads(path.read_bytes()), dict):
            raise ValueError("it holds no fields")
    except (OSError, ValueError, RecursionError) as error:
        yield Problem(str(path), f"is damaged ({error})", remedy, level)


def _visible(folder: Path) -> Iterable[Path]:
    # names that begin with a dot are writes that were not finished
    return sorted(p for p in folder.glob("*") if p.is_file() and not p.name.startswith("."))


def _numbered(folder: Path) -> Iterable[tuple[int, Path]]:
    return [(int(p.name), p) for p in sorted(folder.glob("[0-9]*")) if p.name.isdigit()]


def _digest(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None
