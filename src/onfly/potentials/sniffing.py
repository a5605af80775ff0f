"""Which family a model file belongs to, by looking into it without running anything of it.

Pickles are only taken apart into their instructions (`pickletools`), never executed.
"""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from onfly.potentials.converted import read_header

__all__ = ["family_of_file"]

_MOST_INSTRUCTIONS = 300_000  # of a pickle; what tells the families apart comes early
_LEGACY_PICKLES = 5  # files of torch.save before 1.6: four short ones, then the object


def family_of_file(path: Path) -> str | None:
    """Return the name of the family that a model file belongs to, or None if that is not clear.

    Parameters
    ----------
    path
        A converted model, or a file of mace, SevenNet, NequIP or fairchem 1.x.
    """
    if (header := read_header(path)) is not None:
        return header.family
    names: list[str] = []
    words: set[str] = set()
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
                for name in names:
                    if name.rsplit("/", 1)[-1] == "data.pkl":
                        with archive.open(name) as file:
                            words.update(_words(file, 1))
                        break
        else:
            with path.open("rb") as file:
                words.update(_words(file, _LEGACY_PICKLES))
    except (OSError, zipfile.BadZipFile):
        return None
    if any("/nequip/" in f"/{name}" for name in names):
        return "nequip"
    modules = {word.split(".", 1)[0] for word in words}
    if "mace" in modules and any(word.startswith("mace.modules") for word in words):
        return "mace"
    if "config" in words and "equiformer_v2" in words and "state_dict" in words:
        return "equiformer_v2"
    if "config" in words and "model_state_dict" in words:
        return "sevennet"
    return None


def _words(file: IO[bytes], pickles: int) -> Iterator[str]:
    """Yield texts and names of classes in the first pickles of a stream."""
    left = _MOST_INSTRUCTIONS
    for _ in range(pickles):
        try:
            for _, argument, _ in pickletools.genops(file):
                if isinstance(argument, str):
                    yield argument
                left -= 1
                if not left:
                    return
        except Exception:  # whatever a file that is no pickle leads to
            return
