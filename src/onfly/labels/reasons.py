"""Why a calculation failed: from the exception, and from the files it left.

The exceptions of custodian and the states of task documents say little ("failed"). The cause stands
in what the program printed, and must reach the user also where the label is the job of another
machine, whose exceptions nobody passes on.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from pathlib import Path
from typing import Any

from onfly.labels.errors import LabelError, plain_text, stops_the_run

__all__ = ["evidence", "label_error", "local_directory"]

# in the order in which they tell most; custodian.json says what was tried
_OUTPUTS: tuple[str, ...] = (
    "std_err.txt",
    "vasp.out",
    "label_worker.log",
    "cp2k.out",
    "aims.out",
    "run.err",
    "run.log",
)
_TAIL = 4096  # bytes read from the end
_LINES = 4
_SHORTEST = 400
# lines that say nothing of the cause
_NOISE = re.compile(r"^[\s*=|+.-]*$|running on|distrk|distr:|scaLAPACK|LAPACK is used")
_CAUSES = re.compile(
    r"error|fail|fatal|abort|not converge|unconverge|licen[cs]e|segmentation|sigsegv|killed"
    r"|out of memory|no such file|not found|denied|cannot|quota|no space",
    re.IGNORECASE,
)


def local_directory(directory: str | None) -> Path | None:
    """Return a directory of a task document (``host:/path``) if it is there to be read."""
    if not directory:
        return None
    path = Path(directory if directory.startswith("/") else directory.partition(":")[2])
    try:
        return path if path.is_absolute() and path.is_dir() else None
    except OSError:
        return None


def _tail(path: Path) -> str:
    try:
        if path.suffix == ".gz":
            with gzip.open(path, "rb") as file:
                data = file.read()[-_TAIL:]
        else:
            with open(path, "rb") as file:
                file.seek(0, 2)
                file.seek(max(0, file.tell() - _TAIL))
                data = file.read()
    except (OSError, EOFError, zlib.error):
        return ""
    # programs write what they like, also Latin-1
    return data.decode("utf-8", "replace")


def _telling_lines(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if not _NOISE.search(line)]
    causes = [line for line in lines if _CAUSES.search(line)]
    return plain_text(" / ".join((causes or lines)[-_LINES:]), _SHORTEST)


def _custodian_errors(folder: Path) -> str:
    for name in ("custodian.json", "custodian.json.gz"):
        path = folder / name
        try:
            opener: Any = gzip.open if path.suffix == ".gz" else open
            with opener(path, "rt", errors="replace") as file:
                runs = json.load(file)
            found = [
                str(error)
                for run in runs
                for correction in run.get("corrections") or ()
                for error in correction.get("errors") or ()
            ]
        except (OSError, EOFError, zlib.error, ValueError, AttributeError, TypeError):
            continue
        # each error once, in the order in which they came
        return ", ".join(dict.fromkeys(found))
    return ""


def evidence(directory: str | None) -> str | None:
    """Return what the files of a failed calculation say about the cause, in one line.

    Parameters
    ----------
    directory
        Of the calculation, as task documents give it (with or without host name).

    Returns
    -------
    str or None
        None if the directory is not on this machine or says nothing.
    """
    folder = local_directory(directory)
    if folder is None:
        return None
    found = []
    if errors := _custodian_errors(folder):
        found.append(f"custodian met {errors}")
    for name in _OUTPUTS:
        for path in (folder / name, folder / f"{name}.gz"):
            if path.is_file() and (lines := _telling_lines(_tail(path))):
                found.append(f"{name}: {lines}")
    return "; ".join(found[:3]) or None


def label_error(error: BaseException, directory: str | None = None) -> LabelError:
    """Return any failure of a labeller as a `LabelError` that names its cause.

    Parameters
    ----------
    error
        What was raised. A `LabelError` anywhere in its chain of causes is the reason.
    directory
        Where the calculation ran, whose files are read for the cause.

    Raises
    ------
    KeyboardInterrupt, GeneratorExit
        If that is what ``error`` is: then the user wants to stop.
    """
    if stops_the_run(error):
        raise error
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, LabelError):
            return cause
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, SystemExit):
        reason = f"the labeller called sys.exit({plain_text(error.code)})"
    else:
        reason = f"{type(error).__name__}: {plain_text(error)}"
    if seen := evidence(directory):
        reason = f"{reason} ({seen})"
    return LabelError(reason, directory, "look for the cause in the directory")
