"""Files that may run code when they are loaded, and the foundation models that documents name.

A model's document comes from a database or a download, and the foundation model it names may be a
pickled file. Loading one runs whatever its author put there, so that it needs the user's word.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

import onfly.potentials
from onfly.potentials import Potential, load_foundation

__all__ = ["UntrustedFileError", "load_named_foundation", "named", "refuse_untrusted", "runs_code"]

_SWITCH = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
# of a safetensors file: the length of its header as 8 bytes, then the header's JSON
_HEADER_START = 8


class UntrustedFileError(ValueError):
    """Loading a file would run code from it, and the user did not say that it is trusted.

    Examples
    --------
    >>> issubclass(UntrustedFileError, ValueError)
    True
    """


def runs_code(path: Path) -> bool:
    """Return whether loading a file may run code from it; nothing of the file is run here.

    False for safetensors files, and for files of torch that hold tensors and plain values only,
    which torch's restricted reader can read.
    """
    with path.open("rb") as file:
        start = file.read(_HEADER_START + 1)
    if start[_HEADER_START:] == b"{":
        return False
    try:
        with _protected():
            torch.load(io.BytesIO(path.read_bytes()), map_location="cpu", weights_only=True)
    except Exception:  # from a damaged or hostile file anything may come
        return True
    return False


def load_named_foundation(
    name: str,
    *,
    elements: Sequence[str],
    device: str,
    trust_pickle: bool = False,
    sha256: str | None = None,
    source: str = "the model",
) -> Potential:
    """Load the foundation model that a document names, if that runs no code, or may.

    Parameters
    ----------
    name
        Name or file.
    elements, device
        Of `onfly.potentials.load_foundation`.
    trust_pickle
        Whether a pickled file may be loaded.
    sha256
        Recorded in the document, or None; another file is refused before it is loaded.
    source
        What names it, for messages.

    Raises
    ------
    UntrustedFileError
        If the file would run code and ``trust_pickle`` is False.
    ValueError
        If its sha256 is not the recorded one.
    """
    pickled = refuse_untrusted(name, trust_pickle=trust_pickle, sha256=sha256, source=source)
    potential = load_foundation(named(name, pickled), elements=elements, device=device)
    # a converted file has a digest of its own, and remembers that of the file it was made from
    digests = [getattr(potential, key, None) for key in ("sha256", "source_sha256")]
    _check_digests([found for found in digests if found], sha256, potential.name, source)
    return potential


def refuse_untrusted(
    name: str, *, trust_pickle: bool = False, sha256: str | None = None, source: str = "the model"
) -> bool:
    """Check the foundation model that a document names before it is loaded.

    Parameters
    ----------
    name, trust_pickle, sha256, source
        Of `load_named_foundation`.

    Returns
    -------
    bool
        Whether it is a file that runs code, which the user trusts.

    Raises
    ------
    UntrustedFileError
        If it is a file that would run code and ``trust_pickle`` is False.
    ValueError
        If its sha256 is not the recorded one.
    """
    path = Path(name).expanduser()
    if not path.is_file() or not runs_code(path) or _known(path):
        return False
    if not trust_pickle:
        raise UntrustedFileError(
            f"{source} names the foundation model {path}, a pickled file: loading it runs code "
            "from it, so it is refused. If you trust the file, pass trust_pickle=True, or convert "
            f"it once with `onfly models convert {path}` and pass the converted one as "
            "foundation_model."
        )
    _check_digests([hashlib.sha256(path.read_bytes()).hexdigest()], sha256, path, source)
    return True


def named(name: str, trusted: bool) -> Any:
    """Return what `load_foundation` takes for a file that the user trusts, or the bare name."""
    parse = getattr(onfly.potentials, "parse_foundation", None)
    if not trusted or parse is None:
        return name
    found = parse(name)
    options = {**found.options, "trust_pickle": True}
    return {"family": found.family, "source": found.source, "options": options}


def _known(path: Path) -> bool:
    """Return whether the content of a file is one of those that are known to be harmless."""
    try:
        known = import_module("onfly.potentials.trust").KNOWN_FILES
    except ModuleNotFoundError:
        return False
    return hashlib.sha256(path.read_bytes()).hexdigest() in known


def _check_digests(found: Sequence[str], recorded: str | None, name: Any, source: str) -> None:
    if found and recorded and recorded not in found:
        raise ValueError(
            f"{source} was fine-tuned from another foundation model than {name}: sha256 is "
            f"{found[0]}, recorded was {recorded}"
        )


@contextlib.contextmanager
def _protected() -> Iterator[None]:
    """Keep torch's restricted reader restricted: mace switches it off for the whole process."""
    before = os.environ.pop(_SWITCH, None)
    try:
        yield
    finally:
        if before is not None:
            os.environ[_SWITCH] = before
