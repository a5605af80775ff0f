"""Flat keys: the short form of a run's settings, as most files have them.

A flat key names one leaf of `RunSpec`: ``audit_interval`` is ``rounds.audit_interval``. Flat keys
and groups may stand in one file; a setting that is given twice is an error.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from onfly.spec.migration import ended, rename
from onfly.spec.quantities import format_quantity

if TYPE_CHECKING:
    from onfly.spec.run import RunSpec

__all__ = ["FLAT_KEYS", "GROUPS", "Gathered", "SettingError", "flatten", "gather", "merge"]

Path = tuple[str | int, ...]

GROUPS = (
    "foundation",
    "tolerance",
    "trajectories",
    "rounds",
    "proof",
    "posterior",
    "calibration",
    "labels",
    "guards",
    "stopping",
    "properties",
    "seed",
)

# threshold, threshold_per_atom and max_probability make tolerances: see _tolerances
FLAT_KEYS: dict[str, tuple[str, ...]] = {
    "foundation_model": ("foundation",),
    "stages": ("trajectories", "stages"),
    "walkers": ("trajectories", "walkers"),
    "time_step": ("trajectories", "time_step"),
    "traj_interval": ("trajectories", "traj_interval"),
    "checkpoint_interval": ("trajectories", "checkpoint_interval"),
    "max_walltime": ("trajectories", "max_walltime"),
    "initial_labels": ("rounds", "initial_labels"),
    "initial_steps": ("rounds", "initial_steps"),
    "round_length": ("rounds", "length"),
    "criteria": ("rounds", "criteria"),
    "look_ahead_labels": ("rounds", "look_ahead_labels"),
    "look_ahead_steps": ("rounds", "look_ahead_steps"),
    "audit_interval": ("rounds", "audit_interval"),
    "audit_growth": ("rounds", "audit_growth"),
    "audit_thinning": ("rounds", "audit_thinning"),
    "redo_steps": ("rounds", "redo_steps"),
    "audit_update_fraction": ("rounds", "audit_update_fraction"),
    "warmup_labels": ("rounds", "warmup_labels"),
    "warmup_interval": ("rounds", "warmup_interval"),
    "strategy": ("posterior", "strategy"),
    "n_workers": ("posterior", "n_workers"),
    "calibration_mode": ("calibration", "mode"),
    "labeller": ("labels", "labeller"),
    "level_of_theory": ("labels", "level_of_theory"),
    "energy_key": ("labels", "energy_key"),
    "max_force": ("labels", "max_force"),
    "max_net_force": ("labels", "max_net_force"),
    "reuse_labels": ("labels", "reuse"),
    "seed_from": ("labels", "seed_from"),
    "max_temperature": ("guards", "max_temperature"),
    "min_distance": ("guards", "min_distance"),
    "max_volume_change": ("guards", "max_volume_change"),
    "max_atoms": ("guards", "max_atoms"),
    "max_failures": ("stopping", "max_failures"),
    "properties_labeller": ("properties", "labeller"),
}

_TOLERANCE_KEYS = ("threshold", "threshold_per_atom", "max_probability")


class SettingError(ValueError):
    """Settings that do not belong, all at once.

    Parameters
    ----------
    problems
        The path of each key as it was given, and what is wrong with it.
    """

    def __init__(self, problems: list[tuple[Path, str]]) -> None:
        self.problems = problems
        super().__init__(
            "\n".join(f"{'.'.join(str(p) for p in path)}: {text}" for path, text in problems)
        )


@dataclass
class Gathered:
    """Settings by group.

    Parameters
    ----------
    groups
        What `RunSpec` validates.
    origins
        Path in `groups` of what came from elsewhere -> path as it was given.
    """

    groups: dict[str, Any] = field(default_factory=dict)
    origins: dict[Path, Path] = field(default_factory=dict)

    def origin(self, path: Path) -> Path:
        """Return the path of a setting as it was given."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.origins:
                return (*self.origins[path[:length]], *path[length:])
        return path


def gather(mapping: Mapping[str, Any], *, also_known: Collection[str] = ()) -> Gathered:
    """Sort flat keys into their groups.

    Parameters
    ----------
    mapping
        Flat keys and groups.
    also_known
        Keys that the file has besides, for the message about an unknown one.

    Raises
    ------
    SettingError
        If a key is unknown, has no meaning any more, or is given twice; all such keys at once.
    """
    found, problems = Gathered(), ended(mapping)
    mapping, moved = rename(mapping)
    for key, value in mapping.items():
        if key in GROUPS:
            given = dict(value) if isinstance(value, Mapping) else value
            if key == "posterior" and isinstance(value, str):
                given = {"kind": value}
            if key == "calibration" and isinstance(value, str):
                given = {"prior": value}
            if key == "properties" and isinstance(value, str | list | tuple):
                given = {"kinds": value}
            found.groups[key] = given
    for key, value in mapping.items():
        if key in FLAT_KEYS:
            _put(found, FLAT_KEYS[key], key, value, problems)
        elif key not in GROUPS and key not in _TOLERANCE_KEYS:
            known = sorted({*FLAT_KEYS, *GROUPS, *_TOLERANCE_KEYS, *also_known})
            close = get_close_matches(str(key), known, n=1)
            hint = f"unknown key: did you mean {close[0]}?" if close else "unknown key"
            problems.append(((key,), f"{hint} (known keys are {', '.join(known)})"))
    _tolerances(found, mapping, problems)
    found.origins |= moved
    if problems:
        raise SettingError(problems)
    return found


def _put(
    found: Gathered,
    path: tuple[str, ...],
    key: str,
    value: Any,
    problems: list[tuple[Path, str]],
) -> None:
    found.origins[path] = (key,)
    if len(path) == 1:
        if path[0] in found.groups:
            problems.append(((key,), f"is the same as {path[0]}, which is given as well"))
        found.groups[path[0]] = value
        return
    group = found.groups.setdefault(path[0], {})
    if not isinstance(group, dict):
        return  # the group itself is wrong, which its validation says
    if path[1] in group:
        problems.append(((key,), f"is the same as {'.'.join(path)}, which is given as well"))
    group[path[1]] = value


def _tolerances(
    found: Gathered, mapping: Mapping[str, Any], problems: list[tuple[Path, str]]
) -> None:
    if "threshold" in mapping:
        if "tolerance" in mapping:
            problems.append(
                (("threshold",), "is the short form of tolerance, which is given as well")
            )
            return
        per_atom = mapping.get("threshold_per_atom", False)
        if not isinstance(per_atom, bool):
            problems.append((("threshold_per_atom",), f"{per_atom!r} is neither true nor false"))
        quantity = "energy_per_atom" if per_atom else "energy"
        found.groups["tolerance"] = [{"quantity": quantity, "value": mapping["threshold"]}]
        found.origins[("tolerance", 0)] = ("threshold",)
        found.origins[("tolerance", 0, "value")] = ("threshold",)
    elif "threshold_per_atom" in mapping:
        problems.append((("threshold_per_atom",), "needs threshold"))
    if "max_probability" in mapping:
        value = found.groups.get("tolerance")
        entries = value if isinstance(value, list | tuple) else [value]
        spread: list[Any] = []
        for i, entry in enumerate(entries):
            if isinstance(entry, Mapping) and "max_probability" not in entry:
                entry = {**entry, "max_probability": mapping["max_probability"]}
                found.origins[("tolerance", i, "max_probability")] = ("max_probability",)
            spread.append(entry)
        if value is not None:
            found.groups["tolerance"] = spread


# settings that are one choice: an override replaces them as a whole
_WHOLE = {("foundation",), ("tolerance",), ("labels", "labeller"), ("trajectories", "stages")}


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return grouped settings with changes; another kind of posterior drops the options of the old.

    Both are `Gathered.groups`.
    """
    result = dict(base)
    for group, value in changes.items():
        old = result.get(group)
        if not isinstance(value, Mapping) or not isinstance(old, Mapping) or (group,) in _WHOLE:
            result[group] = value
            continue
        if group == "posterior" and any(k not in ("strategy", "n_workers") for k in value):
            old = {k: v for k, v in old.items() if k in ("strategy", "n_workers")}
        result[group] = {**old, **value}
    return result


def flatten(spec: RunSpec, *, defaults: bool = False) -> dict[str, Any]:
    """Return the flat keys of a spec; see `RunSpec.to_flat`."""
    short = {path: key for key, path in FLAT_KEYS.items()}
    flat: dict[str, Any] = {}
    foundation = spec.foundation
    flat["foundation_model"] = (
        foundation.source
        if foundation.is_plain
        else foundation.model_dump(mode="json", exclude_defaults=not defaults)
    )
    flat |= _flat_tolerances(spec)
    for group in GROUPS:
        value = getattr(spec, group)
        if not isinstance(value, BaseModel) or group == "foundation":
            continue
        kept = value.model_dump(mode="json", exclude_defaults=not defaults)
        rest: dict[str, Any] = {}
        for name, item in kept.items():
            if (group, name) in short:
                flat[short[group, name]] = item
            else:
                rest[name] = item
        if rest:
            flat[group] = rest
    if defaults or spec.seed:
        flat["seed"] = spec.seed
    return flat


def _flat_tolerances(spec: RunSpec) -> dict[str, Any]:
    first = spec.tolerance[0]
    if len(spec.tolerance) == 1 and first.quantity in ("energy", "energy_per_atom"):
        flat: dict[str, Any] = {"threshold": format_quantity(first.value, "energy")}
        if first.quantity == "energy_per_atom":
            flat["threshold_per_atom"] = True
        if first.max_probability != 0.05:
            flat["max_probability"] = first.max_probability
        return flat
    entries = []
    for tolerance in spec.tolerance:
        entry = tolerance.model_dump(mode="json", exclude_defaults=True)
        entries.append(entry | {"value": tolerance.text})
    return {"tolerance": entries}
