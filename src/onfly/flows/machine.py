"""What keeps this machine from doing a run: folders, device, store."""

from __future__ import annotations

import tempfile
from pathlib import Path

from onfly.settings import OnflySettings
from onfly.stores import EmbeddedStore, job_store

__all__ = ["machine_problems"]


def machine_problems(settings: OnflySettings, *, device: bool = True) -> list[str]:
    """Return what is wrong with the settings of this machine, one sentence each.

    Nothing is left behind: whether a folder can be written is tried with a temporary one.

    Parameters
    ----------
    settings
        Of the machine.
    device
        Whether models are evaluated here.
    """
    problems = _unwritable(settings.ARTIFACT_DIR, "ARTIFACT_DIR")
    try:
        store = job_store(settings)
    except ValueError as error:
        return [*problems, str(error)]
    if isinstance(store.docs_store, EmbeddedStore):
        problems += _unwritable(Path(store.docs_store.path), "STORE_DIR")
    return problems + (_no_device(settings.DEVICE) if device else [])


def _unwritable(folder: Path, name: str) -> list[str]:
    shown = str(folder) if len(str(folder)) < 200 else f"{str(folder)[:200]}…"
    remedy = f"set ONFLY_{name} to a folder that you may write"
    try:
        existing = folder
        while not existing.exists():
            existing = existing.parent
        if not existing.is_dir():
            return [f"{name} {shown} cannot be made, {existing} is no folder: {remedy}"]
        with tempfile.TemporaryDirectory(dir=existing, prefix=".onfly-"):
            return []
    except OSError as error:
        return [f"{name} {shown} cannot be written ({error.strerror}): {remedy}"]


def _no_device(name: str) -> list[str]:
    import torch

    kind, _, index = name.partition(":")
    if kind == "cpu":
        return []
    module = getattr(torch, kind, None)
    if module is None or not module.is_available():
        return [f"DEVICE {name}: torch finds no {kind} here: set ONFLY_DEVICE=cpu, or install it"]
    if index and int(index) >= module.device_count():
        return [f"DEVICE {name}: there are {module.device_count()}, counted from 0"]
    return []
