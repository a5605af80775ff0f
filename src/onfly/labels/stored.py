"""The content of a label as it is stored, and the hashes of it."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
from monty.json import jsanitize

from onfly.labels.errors import LabelError
from onfly.schemas import LabelDoc
from onfly.schemas.label import RUN_FIELDS

__all__ = ["canonical", "checksums", "digest", "label_key", "stored_fields"]

# what a label says of nature; where, when and by whom it was computed is not part of its name
_CONTENT: tuple[str, ...] = (
    "structure_hash",
    "energy",
    "energy_key",
    "forces",
    "stress",
    "labeller",
    "input_hash",
)


def canonical(value: Any) -> bytes:
    """Return JSON that is the same for the same value: sorted keys, shortest exact numbers."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def digest(value: Any) -> str:
    """Return the sha256 of a value's canonical JSON."""
    return hashlib.sha256(canonical(value)).hexdigest()


def stored_fields(label: LabelDoc) -> dict[str, Any]:
    """Return what is stored of a label, as JSON holds it.

    Raises
    ------
    LabelError
        If an energy, force or stress is not finite.
    """
    for name in ("energy", "forces", "stress"):
        value = getattr(label, name)
        if value is not None and not np.isfinite(np.asarray(value, dtype=float)).all():
            raise LabelError(f"the {name} of a label is not finite, so it is not stored")
    fields = jsanitize(label.model_dump(mode="json", exclude=set(RUN_FIELDS)), strict=True)
    # once through JSON, so that what is hashed is what will be read
    return json.loads(json.dumps(fields, allow_nan=False))


def label_key(fields: dict[str, Any]) -> str:
    """Return the name of a label: the sha256 of structure, energy, forces, stress and settings.

    Parameters
    ----------
    fields
        From `stored_fields` or from a file.
    """
    structure = fields["structure"]
    sites = [
        [
            [[s["element"], s["occu"]] for s in site["species"]],
            site["abc"] if "abc" in site else site["xyz"],
            site.get("properties") or {},
        ]
        for site in structure["sites"]
    ]
    cell = (structure.get("lattice") or {}).get("matrix")
    state = [structure.get("charge"), structure.get("spin_multiplicity")]
    content = {name: fields.get(name) for name in _CONTENT}
    return digest(content | {"sites": sites, "cell": cell, "state": state})


def checksums(fields: dict[str, Any]) -> dict[str, str]:
    """Return a short checksum of every field, by which a changed one is named."""
    return {name: digest(value)[:16] for name, value in fields.items()}
