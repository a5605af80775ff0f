"""The wave function of one label starts the SCF of the next, and is then of no more use."""

from __future__ import annotations

import logging
from pathlib import Path

from atomate2.common.files import copy_files, get_zfile, gunzip_files
from atomate2.utils.file_client import FileClient
from atomate2.utils.path import strip_hostname

__all__ = ["discard_wavecar", "mark_directory", "reuse_wavecar"]

logger = logging.getLogger(__name__)

# says that a WAVECAR is here for the next label only, and not what somebody else calculated
MARK = "onfly-label"


def mark_directory() -> None:
    """Mark the current directory as that of a label."""
    Path(MARK).touch()


def reuse_wavecar(prev_dir: str | Path) -> bool:
    """Copy the WAVECAR of the label before, if it left one that is whole."""
    directory = Path(strip_hostname(str(prev_dir)))
    try:
        with FileClient() as client:
            name = get_zfile(client.listdir(directory), "WAVECAR", allow_missing=True)
            if name is None or (directory / name).stat().st_size == 0:
                return False
            copy_files(directory, include_files=[name.name], file_client=client)
            gunzip_files(include_files=[name.name], allow_missing=True, file_client=client)
    except OSError as error:
        logger.warning("no warm start from %s: %s", directory, error)
        return False
    return True


def discard_wavecar(prev_dir: str | Path) -> bool:
    """Delete the WAVECAR of the label before, now that this directory has a newer one.

    Only directories that `mark_directory` marked are touched, so that the result of another
    calculation, from which a run was started, stays as it is. Whoever asks for it all the same
    (a label that is calculated again) starts its SCF cold.

    Returns
    -------
    bool
        Whether something was deleted.
    """
    directory = Path(strip_hostname(str(prev_dir)))
    here = Path.cwd()
    try:
        own = (directory / MARK).is_file() and directory.resolve() != here
        if not own or not any(path.stat().st_size for path in here.glob("WAVECAR*")):
            return False
        found = list(directory.glob("WAVECAR*"))
        for path in found:
            path.unlink(missing_ok=True)
    except OSError as error:
        logger.warning("old wave function in %s is not deleted: %s", directory, error)
        return False
    return bool(found)
