"""The folder of one run: labels, state, ensembles, MD states and logs, all as files.

Labels are written here before anything else happens with them. They survive the loss of the
database, and a run that is killed at any moment goes on from what is here.

```
<artifact dir>/runs/<run_id>/run.json                   state of the run
                             labels/00007.json          one LabelDoc each, written once
                             ensembles/<sha256>.safetensors
                             md/<sha256>.safetensors
                             training/00003.json        record of an update
                             thermo/00003.csv, trajectory/00003.extxyz, cache/00003/
```
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from onfly.artifacts.atomic import atomic_create, atomic_write, ensure_folder
from onfly.artifacts.files import ArtifactError, ArtifactStore
from onfly.artifacts.lock import RunLock
from onfly.schemas import ArtifactRef, EnsembleDoc, LabelDoc, RunDoc

if TYPE_CHECKING:
    from onfly.bayes.posterior import PosteriorState

__all__ = ["RunWorkspace", "list_runs"]

RUNS = "runs"
# of a label that is asked for again after a crash, these differ though the label is the same
_BOOKKEEPING = {"created_at", "elapsed", "task_uuid", "dir_name"}


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
    """

    def __init__(self, root: str | Path, run_id: str) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", run_id):
            raise ValueError(
                f"run_id {run_id!r} cannot name a folder: use letters, digits, '.', '_', '+', '-'"
            )
        self.store = ArtifactStore(root)
        self.run_id = run_id
        self.folder = self.store.root / RUNS / run_id

    # -- state --------------------------------------------------------------------------------
    def lock(self) -> RunLock:
        """Return a context manager that holds the run against other processes."""
        return RunLock(self.folder / "lock", self.run_id)

    def exists(self) -> bool:
        """Return whether a state of the run was written."""
        return (self.folder / "run.json").is_file()

    def write_run(self, run: RunDoc) -> None:
        """Replace the state of the run."""
        if run.run_id != self.run_id:
            raise ValueError(f"state of run {run.run_id!r} given to the folder of {self.run_id!r}")
        atomic_write(self.folder / "run.json", run.model_dump_json(indent=1).encode())

    def read_run(self) -> RunDoc:
        """Read the state of the run.

        Raises
        ------
        FileNotFoundError
            If there is none.
        """
        try:
            text = (self.folder / "run.json").read_text()
        except FileNotFoundError:
            raise FileNotFoundError(
                f"no run {self.run_id!r} in {self.folder.parent}: check the name, and "
                "ONFLY_ARTIFACT_DIR"
            ) from None
        return RunDoc.model_validate_json(text)

    # -- labels -------------------------------------------------------------------------------
    def append_label(self, label: LabelDoc) -> None:
        """Write a label durably; a label that is already there is left as it is.

        Raises
        ------
        ValueError
            If the label has no index or belongs to another run.
        ArtifactError
            If a different label has this index.
        """
        if label.index is None or label.run_id != self.run_id:
            raise ValueError(
                f"label {label.index} of run {label.run_id!r} given to run {self.run_id!r}: "
                "index and run_id must be set"
            )
        path = self._numbered("labels", label.index, ".json")
        try:
            atomic_create(path, label.model_dump_json(indent=1).encode())
        except FileExistsError:
            before = _content(LabelDoc.model_validate_json(path.read_text()))
            now = _content(label)
            if before != now:
                changed = sorted(k for k in before | now if before.get(k) != now.get(k))
                raise ArtifactError(
                    f"run {self.run_id} has another label {label.index}: {', '.join(changed)} "
                    f"differ from {path}. Labels are never overwritten."
                ) from None

    def label(self, index: int) -> LabelDoc:
        """Read one label.

        Raises
        ------
        ArtifactError
            If it is not there.
        """
        path = self._numbered("labels", index, ".json")
        try:
            return LabelDoc.model_validate_json(path.read_text())
        except FileNotFoundError:
            raise ArtifactError(f"label {path.name} is missing in {path.parent}") from None

    def labels(self) -> list[LabelDoc]:
        """Read all labels in the order of their index.

        Raises
        ------
        ArtifactError
            If an index is missing.
        """
        paths = self._files("labels", "*.json")
        for index, path in enumerate(paths):
            if path.stem != f"{index:05d}":
                raise ArtifactError(f"label {index:05d}.json is missing in {path.parent}")
        return [LabelDoc.model_validate_json(path.read_text()) for path in paths]

    def n_labels(self) -> int:
        """Return the number of labels without reading them."""
        return len(self._files("labels", "*.json"))

    def label_sizes(self) -> list[int]:
        """Return the sizes of the label files in bytes, in the order of their index."""
        return [path.stat().st_size for path in self._files("labels", "*.json")]

    # -- records of updates, logs -------------------------------------------------------------
    def write_training(self, iteration: int, record: dict[str, Any]) -> None:
        """Write the record of an update."""
        path = self._numbered("training", iteration, ".json")
        atomic_write(path, json.dumps(record, indent=1, default=_plain).encode())

    def read_training(self, iteration: int) -> dict[str, Any]:
        """Read the record of an update."""
        return json.loads(self._numbered("training", iteration, ".json").read_text())

    def trainings(self) -> list[dict[str, Any]]:
        """Read the records of all updates, in order."""
        return [json.loads(path.read_text()) for path in self._files("training", "*.json")]

    def thermo_path(self, iteration: int) -> Path:
        """Return the path of a segment's table of step, energy, temperature … (csv)."""
        return self._for_writing("thermo", iteration, ".csv")

    def trajectory_path(self, iteration: int) -> Path:
        """Return the path of a segment's trajectory (extended xyz)."""
        return self._for_writing("trajectory", iteration, ".extxyz")

    def update_cache(self, generation: int) -> Path:
        """Return a folder for what an unfinished update wants to find again."""
        return ensure_folder(self.folder / "cache" / f"{generation:05d}")

    def thermo_files(self) -> list[Path]:
        """Return the thermo tables there are, in order."""
        return self._files("thermo", "*.csv")

    def trajectory_files(self) -> list[Path]:
        """Return the trajectories there are, in order."""
        return self._files("trajectory", "*.extxyz")

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

        Labels, records and logs are never deleted.
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

    # -- paths --------------------------------------------------------------------------------
    def _numbered(self, name: str, number: int, suffix: str) -> Path:
        return self.folder / name / f"{number:05d}{suffix}"

    def _for_writing(self, name: str, number: int, suffix: str) -> Path:
        path = self._numbered(name, number, suffix)
        ensure_folder(path.parent)
        return path

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
    """Return the runs that have a state under an artifact directory, sorted by name."""
    folders = sorted((Path(root).expanduser() / RUNS).glob("*/run.json"))
    return [RunWorkspace(root, path.parent.name) for path in folders]


def _content(label: LabelDoc) -> dict[str, Any]:
    # through JSON, so that the label given compares with the label read
    content = json.loads(label.model_dump_json())
    return {k: v for k, v in content.items() if k not in _BOOKKEEPING}


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written to a training record")
