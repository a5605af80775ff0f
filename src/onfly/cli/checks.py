"""What ``onfly doctor`` checks: each function returns what it found and, if need be, a remedy."""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

__all__ = ["Finding", "run_checks"]

Level = Literal["ok", "note", "error"]


@dataclass(frozen=True)
class Finding:
    """Result of one check.

    Parameters
    ----------
    check
        Its name.
    level
        ``"error"`` ends the command with code 1; a ``"note"`` is something optional.
    message
        What was found.
    remedy
        What to do about it.
    """

    check: str
    level: Level
    message: str
    remedy: str = ""

    def as_dict(self) -> dict[str, str]:
        """Return the fields."""
        return asdict(self)


def run_checks() -> Iterator[Finding]:
    """Yield the findings of all checks; a check that fails unexpectedly is an error of its own."""
    from onfly.settings import get_settings

    try:
        settings = get_settings()
    except ValueError as error:
        yield Finding("settings", "error", str(error), "correct the settings file or variable")
        return
    file = settings.CONFIG_FILE
    yield Finding("settings", "ok", f"file {file}" if file.exists() else "defaults, no file")
    checks: tuple[tuple[str, Callable[[Any], Iterator[Finding]]], ...] = (
        ("settings", _environment),
        ("device", _device),
        ("artifact directory", _artifact_dir),
        ("stores", _stores),
        ("foundation models", _foundations),
        ("labellers", _labellers),
        ("VASP", _vasp),
    )
    for name, check in checks:
        try:
            yield from check(settings)
        except Exception as error:
            yield Finding(name, "error", f"{type(error).__name__}: {error}")


def _environment(settings: Any) -> Iterator[Finding]:
    known = {f"ONFLY_{name}" for name in type(settings).model_fields}
    unknown = [n for n in os.environ if n.startswith("ONFLY_") and n.upper() not in known]
    for name in sorted(n for n in unknown if not n.startswith("ONFLY_TEST_")):
        yield Finding(
            "settings",
            "error",
            f"the variable {name} means nothing",
            f"known are {', '.join(sorted(known))}",
        )


def _device(settings: Any) -> Iterator[Finding]:
    import torch

    try:
        torch.zeros(1, device=settings.DEVICE)
    except (RuntimeError, AssertionError) as error:
        message = f"{settings.DEVICE} cannot be used: {error}"
        yield Finding("device", "error", message, "set ONFLY_DEVICE=cpu, or install CUDA's torch")
        return
    threads = os.environ.get("OMP_NUM_THREADS")
    yield Finding(
        "device",
        "ok",
        f"{settings.DEVICE}, {settings.n_workers} workers, OMP_NUM_THREADS={threads or 'unset'}",
    )


def _artifact_dir(settings: Any) -> Iterator[Finding]:
    folder: Path = settings.ARTIFACT_DIR
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            file.write(b"x")
    except OSError as error:
        message = f"{folder} cannot be written: {error}"
        yield Finding("artifact directory", "error", message, "set ONFLY_ARTIFACT_DIR")
        return
    free = shutil.disk_usage(folder).free / 1e9
    level: Level = "ok" if free > 5 else "note"
    remedy = "" if free > 5 else "a run with a large foundation model needs a few GB"
    yield Finding("artifact directory", level, f"{folder}, {free:.0f} GB free", remedy)


def _stores(settings: Any) -> Iterator[Finding]:
    from onfly.stores import EmbeddedStore, job_store

    try:
        store = job_store(settings)
    except ValueError as error:
        yield Finding("stores", "error", str(error), "correct JOB_STORE")
        return
    kind = "embedded" if isinstance(store.docs_store, EmbeddedStore) else "server"
    marker = f"onfly-doctor-{uuid4().hex}"
    document = {"uuid": marker, "index": 1, "output": {"weights": {"chunks": [marker]}}}
    try:
        store.connect()
        store.update(document, save={"data": ["weights"]})
        found = store.query_one({"uuid": marker}, load=True)
    except Exception as error:
        message = f"{store.docs_store.name} or its data store cannot be written: {error}"
        yield Finding("stores", "error", message, "is the server running, and the password right?")
        return
    blob = (store.query_one({"uuid": marker}) or {}).get("output", {}).get("weights", {})
    store.remove_docs({"uuid": marker})
    if "blob_uuid" in blob:
        from onfly.stores.factory import data_store

        data = data_store(store)
        data.remove_docs({"blob_uuid": blob["blob_uuid"]})
    if found is None or found["output"] != document["output"]:
        message = f"{store.docs_store.name}: what was written came back changed"
        yield Finding("stores", "error", message, "check the kind of the additional store `data`")
        return
    yield Finding("stores", "ok", f"{kind}: {store.docs_store.name}, data store works")
    if kind == "embedded":
        yield Finding(
            "stores",
            "note",
            "the embedded store serves one machine and is no job queue",
            "for FireWorks or jobflow-remote set JOB_STORE to a MongoDB server",
        )
    limit = settings.MAX_DOC_MB
    yield Finding("document budget", "ok", f"documents up to {limit:g} MB, weights in `data`")


def _foundations(settings: Any) -> Iterator[Finding]:
    families = {
        "chgnet": ("chgnet", "onfly[chgnet]"),
        "mace": ("mace", "onfly[mace]"),
        "sevennet": ("sevenn", "onfly[nequip] in an environment of its own"),
        "nequip": ("nequip", "onfly[nequip] in an environment of its own"),
    }
    there = [name for name, (module, _) in families.items() if _installed(module)]
    if there:
        yield Finding("foundation models", "ok", f"installed: {', '.join(there)}")
    else:
        yield Finding(
            "foundation models", "error", "none is installed", "pip install onfly[chgnet]"
        )
    for name, (_, extra) in families.items():
        if name not in there:
            yield Finding("foundation models", "note", f"no {name}", f"pip install {extra}")


def _labellers(settings: Any) -> Iterator[Finding]:
    programs = {"VASP": "vasp_std", "CP2K": "cp2k", "FHI-aims": "aims.x", "Abinit": "abinit"}
    there = [name for name in ("tblite", "pyscf", "gpaw") if _installed(name)]
    there += [name for name, program in programs.items() if shutil.which(program)]
    if there:
        yield Finding("labellers", "ok", f"found: {', '.join(there)}")
    else:
        yield Finding("labellers", "error", "none found", "pip install onfly[tblite], or load VASP")


def _vasp(settings: Any) -> Iterator[Finding]:
    from atomate2 import SETTINGS as ATOMATE2
    from pymatgen.core import SETTINGS as PYMATGEN

    command = str(ATOMATE2.VASP_CMD)
    program = next((w for w in command.split()[::-1] if "vasp" in w), command.split()[-1])
    found = shutil.which(os.path.expandvars(program))
    if found is None:
        message = f"atomate2's VASP_CMD is {command!r}, and {program} is not found"
        yield Finding("VASP", "note", message, "set VASP_CMD in ~/.atomate2.yaml to label by VASP")
        return
    yield Finding("VASP", "ok", f"VASP_CMD {command!r}")
    potcars = PYMATGEN.get("PMG_VASP_PSP_DIR")
    if not potcars or not Path(potcars).is_dir():
        message = f"PMG_VASP_PSP_DIR is {potcars!r}, which is no folder"
        yield Finding("VASP", "error", message, "run `pmg config -p` and set it in ~/.pmgrc.yaml")
    else:
        yield Finding("VASP", "ok", f"pseudopotentials in {potcars}")


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
