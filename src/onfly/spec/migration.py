"""Keys of earlier versions: those whose meaning carries over are renamed, the others are told."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

__all__ = ["ENDED", "RENAMED", "ended", "rename"]

logger = logging.getLogger(__name__)

Path = tuple[str | int, ...]

# key as it was -> what to write now
ENDED: dict[tuple[str, str], str] = {
    ("stopping", "min_audits"): (
        "has no meaning any more: the number of audits follows from what is to be proven. Remove "
        "it, or write `proof: {coverage: 0.9, confidence: 0.95}` (29 audits, the default)"
    ),
    ("stopping", "min_coverage"): (
        "was the share of good audits, which is not a proof. Write the share of steps that must "
        "keep the tolerance: `proof: {coverage: 0.9, confidence: 0.95}`"
    ),
}

# key as it was -> where the same thing stands now
RENAMED: dict[tuple[str, str], tuple[str, str]] = {
    ("stopping", "closing_steps"): ("proof", "steps"),
}


def ended(mapping: Mapping[str, Any]) -> list[tuple[Path, str]]:
    """Return path and message of each key that has no meaning any more."""
    return [
        (path, message)
        for path, message in ENDED.items()
        if isinstance(group := mapping.get(path[0]), Mapping) and path[1] in group
    ]


def rename(mapping: Mapping[str, Any]) -> tuple[dict[str, Any], dict[Path, Path]]:
    """Return the settings with today's keys, and where each renamed one stood (new -> old path)."""
    result = dict(mapping)
    moved: dict[Path, Path] = {}
    for old, new in RENAMED.items():
        group = result.get(old[0])
        if not (isinstance(group, Mapping) and old[1] in group):
            continue
        value = group[old[1]]
        result[old[0]] = {k: v for k, v in group.items() if k != old[1]}
        if value in (0, None):  # it was the former default: nothing to carry over
            logger.warning("%s is left out: it is the default", ".".join(old))
            continue
        target = result.get(new[0], {})
        if isinstance(target, Mapping) and new[1] not in target:
            result[new[0]] = {**target, new[1]: value}
            moved[new] = old
        logger.warning("%s is now called %s: write that", ".".join(old), ".".join(new))
    return result, moved
