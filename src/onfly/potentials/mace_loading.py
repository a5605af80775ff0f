"""Import of mace, and reading of its model files.

MACE's model files are pickled modules, and unpickling runs code. They are read only if they are
known by their sha256 or trusted explicitly (see `trust`), also those that mace downloads. Converted
files (see `convert`) are read without unpickling.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import logging
from pathlib import Path

import safetensors.torch
import torch

from onfly.potentials.converted import read_header
from onfly.potentials.mace_names import PREFIXES
from onfly.potentials.mace_package import environment_kept, import_mace
from onfly.potentials.trust import require_trust

__all__ = ["checkpoint_path", "read_checkpoint", "read_model"]

_log = logging.getLogger(__name__)


def checkpoint_path(name: str) -> Path:
    """Return the model file of a name, downloaded by mace into its cache when it is not there.

    Parameters
    ----------
    name
        A file, or ``mace-mp-X``, ``mace-mpa-X``, ``mace-off-X`` with X as `mace_mp` and
        `mace_off` take it.

    Raises
    ------
    FileNotFoundError
        If the name is a path and there is no such file.
    ValueError
        If mace does not know X.
    RuntimeError
        If the download failed.
    """
    prefix = next((p for p in PREFIXES if name.startswith(p) and not Path(name).exists()), None)
    if prefix is None:
        path = Path(name).expanduser()
        if not path.is_file():
            raise FileNotFoundError(f"no MACE model file at {path}")
        return path
    import_mace()
    with environment_kept(), contextlib.redirect_stdout(io.StringIO()) as said:
        from mace.calculators import foundations_models as foundations

        size = name.removeprefix(prefix)
        if prefix == "mace-off-":
            known = foundations.mace_off_urls
            if size in known:
                foundations.mace_off(model=size, device="cpu", return_raw_model=True)
                path = Path(foundations.get_cache_dir()) / Path(known[size]).name
        else:
            known = foundations.mace_mp_urls
            size = {"mace-mpa-0-medium": "medium-mpa-0", "mace-mpa-medium": "medium-mpa-0"}.get(
                name, size
            )
            if size in known:
                path = Path(foundations.download_mace_mp_checkpoint(size))
    if size not in known:
        names = ", ".join(prefix + other for other in known)
        raise ValueError(f"mace knows no model {name!r}; it has {names}")
    _log.info("%s", said.getvalue().strip())
    return path


def read_model(path: Path, trusted: bool = False) -> tuple[torch.nn.Module, str]:
    """Return the module of a model file, and the sha256 of the file.

    A converted file is read without unpickling; for a pickled one see `read_checkpoint`.

    Raises
    ------
    ValueError
        If the file is damaged, or holds no MACE energy model.
    PickleRefusedError
        If it is pickled, unknown and not trusted.
    """
    from onfly.potentials.mace_hyperparameters import build_model

    header = read_header(path)
    if header is None:
        return read_checkpoint(path, trusted)
    if header.family != "mace":
        raise ValueError(f"{path} holds a model of {header.family}, not of mace")
    data = path.read_bytes()
    model = build_model(header.hyperparameters, safetensors.torch.load(data))
    return model, hashlib.sha256(data).hexdigest()


def read_checkpoint(path: Path, trusted: bool = False) -> tuple[torch.nn.Module, str]:
    """Unpickle a model file, and return the module and the file's sha256.

    Parameters
    ----------
    path
        The file.
    trusted
        Whether the user said that it may be unpickled.

    Raises
    ------
    PickleRefusedError
        If it is neither trusted nor known by its sha256.
    ValueError
        If the file holds no MACE energy model, or one that needs charges and spins.
    """
    data = path.read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    require_trust(path, trusted, sha256)
    modules = import_mace()
    try:
        model = torch.load(io.BytesIO(data), map_location="cpu", weights_only=False)
    except Exception as error:
        raise ValueError(f"{path} is not a MACE model file: {error}") from error
    if not isinstance(model, modules.MACE):
        raise ValueError(f"{path} holds a {type(model).__name__}, not a MACE energy model")
    if hasattr(model, "joint_embedding"):
        raise ValueError(f"{path} needs total charges and spins, which are not supported")
    return model, sha256
