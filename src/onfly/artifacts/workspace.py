"""The folder of one run: state, ledger, ensembles, MD states and logs, all as files.

A run that is killed at any moment goes on from what is here; it survives the loss of the database.
Labels are not here: they are kept once, for all runs (`onfly.labels.store`).

```
<artifact dir>/runs/<run_id>/run.json                   state: posterior and trajectories
                             ledger.jsonl               a line per label and per update
                             answers/<request>.json     key of a label, or why it failed
                             ensembles/<sha256>.safetensors
                             md/<sha256>.safetensors
                             training/00003.json        record of an update
                             trajectories/000/thermo/00003.csv, trajectory/00003.extxyz,
                                              checkpoint.json
                             cache/00003/               of an update that is not finished
```
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from onfly.artifacts.atomic import atomic_write, ensure_folder
from onfly.artifacts.files import ArtifactError, ArtifactStore
from onfly.artifacts.folders import RUNS, run_folders
from onfly.artifacts.lock import RunLock
from onfly.artifacts.seal import SealError, sealed, unsealed
from onfly.artifacts.trajectory import TrajectoryFolder
from onfly.proof import Ledger
from onfly.schemas import ArtifactRef, EnsembleDoc, RequestDoc, RunState
from onfly.spec.names import RUN_ID, check_run_id

if TYPE_CHECKING:
    from onfly.bayes.posterior import PosteriorState

__all__ = [
    "RUN_ID",
    "RunWorkspace",
    "check_run_id",
    "list_runs",
    "load_ensemble",
    "state_from_json",
]


class RunWorkspace:
    """Files of one run.

    Parameters
    ----------
    root
        The artifact directory.
    run_id
        Identifier of the run; also the name of its folder.

    Raises
    ------
    ValueError
        If the identifier cannot be a folder name.
    FileNotFoundError, ArtifactError
        By what reads: there is no such run, or a file is damaged.

    Examples
    --------
    >>> from onfly.settings import get_settings
    >>> from onfly.testing.models import toy_run
    >>> run = RunWorkspace(get_settings().ARTIFACT_DIR, "r")
    >>> run.exists()
    False
    >>> run.write_state(toy_run("r"))
    >>> run.read_state().phase
    'start'
    """

    def __init__(self, root: str | Path, run_id: str) -> None:
        check_run_id(run_id)
        self.store = ArtifactStore(root)
        self.run_id = run_id
        self.folder = self.store.root / RUNS / run_id

    # -- state --------------------------------------------------------------------------------
    def lock(self) -> RunLock:
        """Return a context manager that holds the run against other processes."""
        return RunLock(self.folder / "lock", f"run {self.run_id}")

    def exists(self) -> bool:
        """Return whether a state of the run was written."""
        return (self.folder / "run.json").is_file()

    def write_state(self, state: RunState) -> None:
        """Replace the state of the run."""
        if state.run_id != self.run_id:
            raise ValueError(
                f"state of run {state.run_id!r} given to the folder of {self.run_id!r}"
            )
        atomic_write(self.folder / "run.json", sealed(state.model_dump_json(), indent=1))

    def read_state(self) -> RunState:
        """Read the state of the run.

        Raises
        ------
        FileNotFoundError
            If there is none.
        ArtifactError
            If the file is damaged, or of another version of onfly.
        """
        path = self.folder / "run.json"
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            raise FileNotFoundError(
                f"no run {self.run_id!r} in {self.folder.parent}: check the name, and "
                "ONFLY_ARTIFACT_DIR"
            ) from None
        except OSError as error:
            raise ArtifactError(f"{path} cannot be read: {error}") from None
        return state_from_json(text, path)

    # -- ledger -------------------------------------------------------------------------------
    @property
    def ledger_path(self) -> Path:
        """The ledger's file; lines beyond those that the state counts do not count."""
        return self.folder / "ledger.jsonl"

    def read_ledger(self, n_records: int) -> Ledger:
        """Read the first records of the ledger.

        Raises
        ------
        ArtifactError
            If there are fewer, or one is damaged.
        """
        try:
            lines = self.ledger_path.read_text().splitlines()[:n_records]
        except FileNotFoundError:
            lines = []
        except (OSError, ValueError) as error:
            raise ArtifactError(f"{self.ledger_path} is damaged: {error}") from None
        if len(lines) < n_records:
            raise ArtifactError(
                f"{self.ledger_path} has {len(lines)} of {n_records} lines: it was cut or removed"
            )
        try:
            return Ledger.from_lines(lines)
        except (ValueError, RecursionError) as error:
            raise ArtifactError(f"{self.ledger_path} is damaged: {error}") from error

    def write_ledger(self, ledger: Ledger) -> int:
        """Replace the ledger and return its number of records.

        Only the state that is written afterwards makes new records count.
        """
        lines = ledger.to_lines()
        atomic_write(self.ledger_path, "".join(line + "\n" for line in lines).encode())
        return len(lines)

    # -- answers of the labeller --------------------------------------------------------------
    def write_answer(self, request: str, answer: dict[str, Any]) -> None:
        """Note what came of a request, so that it is not labelled again after a kill."""
        atomic_write(self.folder / "answers" / f"{request}.json", json.dumps(answer).encode())

    def read_answer(self, request: str) -> dict[str, Any] | None:
        """Return what came of a request, or None."""
        try:
            found = json.loads((self.folder / "answers" / f"{request}.json").read_text())
        except (OSError, ValueError, RecursionError):
            return None  # the label itself is found by its configuration, or computed again
        return found if isinstance(found, dict) else None

    def clear_answers(self, requests: Iterable[RequestDoc]) -> None:
        """Forget what came of requests, since another labeller is asked for them."""
        for request in requests:
            (self.folder / "answers" / f"{request.key}.json").unlink(missing_ok=True)

    # -- records of updates, trajectories -----------------------------------------------------
    def write_training(self, generation: int, record: dict[str, Any]) -> None:
        """Write the record of an update."""
        path = self.folder / "training" / f"{generation:05d}.json"
        atomic_write(path, json.dumps(record, indent=1, default=_plain).encode())

    def trainings(self) -> list[dict[str, Any]]:
        """Read the records of all updates, in order."""
        return [json.loads(path.read_text()) for path in self._files("training", "*.json")]

    def trajectory(self, index: int) -> TrajectoryFolder:
        """Return the files of one trajectory."""
        return TrajectoryFolder(self.store, self.folder, index)

    def trajectory_folders(self) -> list[TrajectoryFolder]:
        """Return the trajectories that have files, in order."""
        return [self.trajectory(int(path.name)) for path in self._files("trajectories", "[0-9]*")]

    def update_cache(self, generation: int) -> Path:
        """Return a folder for what an unfinished update wants to find again."""
        return ensure_folder(self.folder / "cache" / f"{generation:05d}")

    # -- weights and MD states ----------------------------------------------------------------
    def save_md_state(self, arrays: dict[str, np.ndarray]) -> ArtifactRef:
        """Write an MD state (or a configuration to be labelled) as arrays."""
        return self.store.save_arrays(arrays, f"{RUNS}/{self.run_id}/md")

    def load_md_state(self, ref: ArtifactRef) -> dict[str, np.ndarray]:
        """Read what `save_md_state` wrote."""
        return self.store.load_arrays(ref)

    def save_ensemble(
        self,
        state: PosteriorState,
        generation: int,
        n_labels: int,
        *,
        settings: dict[str, Any] | None = None,
        strategy: str = "sequential",
    ) -> EnsembleDoc:
        """Write a posterior: one file per member, and one for its other tensors."""
        folder = f"{RUNS}/{self.run_id}/ensembles"
        return EnsembleDoc(
            generation=generation,
            posterior=state.kind,
            members=[self.store.save_tensors(member, folder) for member in state.members],
            extra=self.store.save_tensors(state.extra, folder) if state.extra else None,
            settings=settings or {},
            strategy=strategy,
            n_labels=n_labels,
        )

    def load_ensemble(self, doc: EnsembleDoc, device: str = "cpu") -> PosteriorState:
        """Read a posterior; every file's sha256 is checked."""
        return load_ensemble(self.store, doc, device)

    def prune(self, keep: Iterable[EnsembleDoc | ArtifactRef | None]) -> int:
        """Delete weights and MD states that are not in ``keep``; return the bytes freed.

        Records and logs are never deleted.
        """
        kept: set[str] = set()
        for item in keep:
            if isinstance(item, EnsembleDoc):
                kept.update(ref.path for ref in item.members)
                kept.update([item.extra.path] if item.extra else [])
            elif item is not None:
                kept.add(item.path)
        freed = 0
        for name in ("ensembles", "md"):
            for path in self._files(name, "*.safetensors"):
                if path.relative_to(self.store.root).as_posix() not in kept:
                    freed += path.stat().st_size
                    path.unlink()
        return freed

    def clear_cache(self, before: int) -> None:
        """Delete the caches of updates before a generation."""
        for path in self._files("cache", "*"):
            if path.is_dir() and path.name.isdigit() and int(path.name) < before:
                shutil.rmtree(path)

    def _files(self, name: str, pattern: str) -> list[Path]:
        # five digits sort as text; names that begin with a dot are unfinished writes
        found = (self.folder / name).glob(pattern)
        return sorted(path for path in found if not path.name.startswith("."))


def load_ensemble(store: ArtifactStore, doc: EnsembleDoc, device: str = "cpu") -> PosteriorState:
    """Read the posterior of a document from an artifact store."""
    from onfly.bayes.posterior import PosteriorState

    return PosteriorState(
        kind=doc.posterior,
        members=tuple(store.load_tensors(ref, device) for ref in doc.members),
        extra=store.load_tensors(doc.extra, device) if doc.extra else {},
    )


def list_runs(root: str | Path) -> list[RunWorkspace]:
    """Return the runs that have a state under an artifact directory, sorted by name.

    Folders whose name is none of ours, such as copies made by hand, are left out.

    Parameters
    ----------
    root
        The artifact directory.

    Returns
    -------
    list of RunWorkspace
        Empty if there are none.

    Examples
    --------
    >>> from onfly.settings import get_settings
    >>> "v0-1" in [run.run_id for run in list_runs(get_settings().ARTIFACT_DIR)]
    True
    """
    return [RunWorkspace(root, folder.name) for folder in run_folders(root)]


def state_from_json(text: bytes, path: Path) -> RunState:
    """Read the state of a run from the content of a file.

    Raises
    ------
    ArtifactError
        If it is damaged, was changed by hand, or is of another version of onfly.
    """
    try:
        unsealed(text)
        return RunState.model_validate_json(text)
    except SealError as error:
        problem = str(error)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        problem = f"{where}: {first['msg']}"
    hint = (
        "it was written by version 0.1, which can finish it: install onfly 0.1 for that"
        if _is_v0_1(text)
        else f"it is damaged ({problem}). Settings are changed with `onfly resume RUN --config "
        "FILE`. Labels and ledger beside it are whole: start the run again under another name with "
        "`seed_from`"
    )
    raise ArtifactError(f"{path} cannot be read: {hint}")


def _is_v0_1(text: bytes) -> bool:
    """Whether a state is that of version 0.1, which had one flat document."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return False
    flat = {"run_id", "phase", "foundation_model"}
    return isinstance(content, dict) and flat <= content.keys() and "posterior" not in content


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written to a training record")
