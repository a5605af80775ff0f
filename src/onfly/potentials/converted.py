"""The file of a converted model: safetensors, with the hyper-parameters as JSON in its header.

A safetensors file begins with the length of its header, 8 bytes, and the header, JSON. Nothing
in such a file can be executed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["FORMAT", "SUFFIX", "ConvertedHeader", "metadata_of", "read_header"]

FORMAT = "onfly-foundation-1"
SUFFIX = ".safetensors"
_LONGEST_HEADER = 100_000_000  # bytes, as safetensors itself has it


@dataclass(frozen=True)
class ConvertedHeader:
    """What the header of a converted model says.

    Parameters
    ----------
    family
        Such as ``"mace"``.
    hyperparameters
        All that the model is built from, besides the tensors; plain JSON values.
    source, source_sha256
        Name and digest of the pickled file that was converted.
    elements
        Chemical symbols that the model knows.
    """

    family: str
    hyperparameters: Mapping[str, Any]
    source: str
    source_sha256: str
    elements: tuple[str, ...]


def metadata_of(header: ConvertedHeader) -> dict[str, str]:
    """Return a header as safetensors stores it: texts by name."""
    return {
        "format": FORMAT,
        "family": header.family,
        "hyperparameters": json.dumps(dict(header.hyperparameters), allow_nan=False),
        "source": header.source,
        "source_sha256": header.source_sha256,
        "elements": " ".join(header.elements),
    }


def read_header(path: Path) -> ConvertedHeader | None:
    """Return the header of a converted model, or None if the file is none.

    Raises
    ------
    ValueError
        If it is one, but of a format that this version does not know, or damaged.
    """
    with path.open("rb") as file:
        start = file.read(9)
        length = int.from_bytes(start[:8], "little")
        if len(start) < 9 or start[8:] != b"{" or length > _LONGEST_HEADER:
            return None
        text = start[8:] + file.read(length - 1)
    try:
        content = json.loads(text)
    except ValueError:
        return None
    found = content.get("__metadata__") if isinstance(content, dict) else None
    if not isinstance(found, dict) or not str(found.get("format")).startswith("onfly-foundation"):
        return None
    if found["format"] != FORMAT:
        raise ValueError(
            f"{path} has the format {found['format']}, this version of onfly reads {FORMAT}: "
            "convert the original file again"
        )
    try:
        hyperparameters = json.loads(found["hyperparameters"])
        if not isinstance(hyperparameters, dict):
            raise TypeError("the hyper-parameters are no table")
        return ConvertedHeader(
            str(found["family"]),
            hyperparameters,
            str(found["source"]),
            str(found["source_sha256"]),
            tuple(str(found["elements"]).split()),
        )
    except (KeyError, ValueError, TypeError) as error:
        raise ValueError(
            f"{path} is a damaged converted model: {error}; convert the original file again"
        ) from error
