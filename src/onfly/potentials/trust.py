"""Which model files may be unpickled. Unpickling runs what the file says, like a program.

A file is unpickled only if its content is known (by its sha256) or the user says so for this file
by the option ``trust_pickle: true``.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

__all__ = ["KNOWN_FILES", "PickleRefusedError", "file_sha256", "refusal", "require_trust"]

# sha256 -> what it is. The pages of the releases give no digests: each of the first four is stated
# by at least three independent projects that downloaded it. The last two are files of this
# project's benchmarks (MACE-SPICE of github.com/jharrymoore/mace-openmm, saved by a later mace).
KNOWN_FILES = {
    "2ddb079cee0e131eaaf6912ba581b394551ead283e95c99cfe78c605d10b5736": "MACE-MP-0 small",
    "01bfe22100139f424713cf921144e5509cbe353d67aa9fa1be9c6e1e0ed35845": "MACE-MP-0 medium",
    "f80e992b65ab8f88fdf26964511357c022e92704e4d9bcd086652635a8495b32": "MACE-MP-0 large",
    "75428afe3a1d7d8062e19bcaabd5c433623cabf308242ec9fb493e38604fb638": "MACE-MPA-0 medium",
    "dbe800e919b62239c7fabdd1feab037b67a9b9e0dd2c02ee55f9a4713c8f07f6": "MACE-SPICE",
    "40bc1105b41ef19496f8e6c875cec5ca21f9eacbb019906b2e1b51ab2949ab52": "MACE ANI-500k small (CC)",
}


class PickleRefusedError(ValueError):
    """A model file would have to be unpickled, and nobody said that it may be.

    Examples
    --------
    >>> _ = Path("unknown.model").write_bytes(b"...")
    >>> require_trust(Path("unknown.model"))
    Traceback (most recent call last):
        ...
    onfly.potentials.trust.PickleRefusedError: unknown.model is a pickled model: ...
    """


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file's content.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    str
        64 hexadecimal digits.

    Examples
    --------
    >>> _ = Path("empty").write_bytes(b"")
    >>> file_sha256(Path("empty"))[:8]
    'e3b0c442'
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def refusal(path: Path, trusted: bool = False, sha256: str | None = None) -> str | None:
    """Say why a file is not unpickled, and what to do; None if it may be.

    Parameters
    ----------
    path
        The file.
    trusted
        Whether the user said yes.
    sha256
        Its digest, where that was computed before.

    Returns
    -------
    str or None
        A sentence with the remedy.

    Examples
    --------
    >>> _ = Path("unknown.model").write_bytes(b"...")
    >>> refusal(Path("unknown.model"), trusted=True) is None
    True
    >>> refusal(Path("unknown.model"))[:32]
    'unknown.model is a pickled model'
    """
    if trusted or (sha256 or file_sha256(path)) in KNOWN_FILES:
        return None
    return (
        f"{path} is a pickled model: reading it runs any program that it contains. Convert it once "
        f"by `onfly models convert {path}`, and name the file that this writes. Or, if you trust "
        "its source, say so: foundation: {family: ..., source: ..., options: {trust_pickle: true}}"
    )


def require_trust(path: Path, trusted: bool = False, sha256: str | None = None) -> None:
    """Raise PickleRefusedError if a file may not be unpickled; see `refusal`.

    Parameters
    ----------
    path, trusted, sha256
        As of `refusal`.

    Raises
    ------
    PickleRefusedError
        With the remedy.

    Examples
    --------
    >>> _ = Path("unknown.model").write_bytes(b"...")
    >>> require_trust(Path("unknown.model"), trusted=True)
    """
    if problem := refusal(path, trusted, sha256):
        raise PickleRefusedError(problem)
