"""Conversion of pickled model files into files that hold tensors and plain values only.

The unpickling, which runs whatever the file says, happens in a process of its own. What comes back
from it is a file that is read without running anything, by this process as by every later one.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from onfly.potentials.converted import SUFFIX, read_header
from onfly.potentials.sniffing import family_of_file

__all__ = ["convert"]

# family -> module whose main program converts a file
CONVERTERS = {"mace": "onfly.potentials.mace_conversion"}


def convert(file: str | Path, out: str | Path | None = None) -> Path:
    """Convert a pickled model file; only do this to files whose source you trust.

    The new file is a safetensors file with the hyper-parameters as JSON in its header. Before it
    is written, the model is built anew from it, and must give the same energies and forces.

    Parameters
    ----------
    file
        A model file of mace.
    out
        Where to write; None writes beside the file, with the ending ``.safetensors``.

    Returns
    -------
    Path
        The new file, for `load_foundation`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    FileExistsError
        If the new file is there already.
    ValueError
        If the file is of another family, or of a form that cannot be rebuilt exactly.

    Examples
    --------
    >>> convert("nowhere.model")
    Traceback (most recent call last):
        ...
    FileNotFoundError: no model file at nowhere.model
    """
    path = Path(file).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"no model file at {path}")
    target = Path(out).expanduser() if out is not None else path.with_suffix(SUFFIX)
    if target.is_dir():
        target = target / path.with_suffix(SUFFIX).name
    if target.exists():
        raise FileExistsError(f"{target} exists already: name another file, or remove it")
    if read_header(path) is not None:
        raise ValueError(f"{path} is a converted model already")
    family = family_of_file(path)
    if family not in CONVERTERS:
        raise ValueError(
            f"{path} cannot be converted: it is "
            + (f"a file of {family}" if family else "not a file of a known family")
            + f"; files of {', '.join(CONVERTERS)} can"
        )
    done = subprocess.run(
        [sys.executable, "-m", CONVERTERS[family], str(path), str(target)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode or not target.is_file():
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise ValueError(f"{path} could not be converted: {lines[-1]}")
    return target
