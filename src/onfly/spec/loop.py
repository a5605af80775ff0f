"""The loop of a run: its rounds, the proof at its end, its guards, and when it stops early."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from onfly.spec.base import Spec, Unit

__all__ = ["CriterionSpec", "GuardsSpec", "ProofSpec", "RoundsSpec", "StoppingSpec"]


class CriterionSpec(Spec):
    """A criterion of another package, which asks for labels beside the tolerances.

    Keys that are not `kind` are options of its class.

    Examples
    --------
    >>> CriterionSpec.model_validate({"kind": "relative_energy", "share": 0.01}).options
    {'share': 0.01}
    """

    kind: str = Field(
        min_length=1, description="Name of its entry point in the group `onfly.criteria`."
    )
    options: dict[str, Any] = Field(default_factory=dict, description="Arguments of its class.")

    @model_validator(mode="before")
    @classmethod
    def _options(cls, data: Any) -> Any:
        if isinstance(data, str):
            return {"kind": data}
        if not isinstance(data, dict) or "options" in data:
            return data
        rest = {k: v for k, v in data.items() if k != "kind"}
        return {k: v for k, v in data.items() if k == "kind"} | ({"options": rest} if rest else {})


class RoundsSpec(Spec):
    """How long the trajectories move between two learnings, and which random steps are audited.

    Examples
    --------
    >>> RoundsSpec(initial_labels=8).audit_interval
    100
    """

    initial_labels: int = Field(
        1,
        ge=1,
        description="Configurations from short MD on the foundation that are labelled side by side "
        "at the start, the first one included. `1` is the paper's.",
    )
    initial_steps: Annotated[int, Unit("MD steps")] = Field(
        50, ge=1, description="On the foundation between two initial configurations."
    )
    length: Annotated[int | None, Unit("MD steps")] = Field(
        None,
        ge=1,
        description="Longest MD of a trajectory in one round; `null` ends a round at calls and at "
        "the end of stages only.",
    )
    look_ahead_labels: int = Field(
        3,
        ge=0,
        description="Largest number of labels beside that of a call: the MD goes on for a while on "
        "a copy, and configurations on its way that would be called as well are labelled side by "
        "side with it. `0` is the paper's.",
    )
    look_ahead_steps: Annotated[int, Unit("MD steps")] = Field(
        20, ge=1, description="Between two configurations of a look ahead."
    )
    criteria: tuple[CriterionSpec, ...] = Field(
        (), description="Criteria of other packages, which ask for labels beside the tolerances."
    )
    audit_interval: Annotated[int, Unit("MD steps")] = Field(
        100,
        ge=0,
        description="One random step in each stretch of so many is labelled. `0`: no audits.",
    )
    audit_thinning: float = Field(
        0.125,
        ge=0,
        lt=1,
        description="Stretches between two audits, as a fraction of those since the stage began or "
        "a label broke a tolerance: long runs without trouble are audited less and less. `0` "
        "audits every stretch.",
    )
    audit_growth: float | None = Field(
        1.0,
        gt=0,
        description="A round ends when the audits of it are this many times those that were judged "
        "before, or the first one, or eight: a model that is too sure of itself is found early, "
        "for few waits. `null` lets audits wait for the end of the round.",
    )
    redo_steps: Annotated[int, Unit("MD steps")] = Field(
        500,
        ge=0,
        description="If a label of the last so many steps of a round broke a tolerance, the MD "
        "goes back to the last place before it that kept them, and takes those steps again with "
        "the new weights, once. `0` never goes back.",
    )
    audit_update_fraction: float = Field(
        0.5,
        ge=0,
        le=1,
        description="An audit whose error is at least this fraction of the tolerance changes the "
        "weights at once; `0` always, `1` only if it exceeds the tolerance.",
    )
    warmup_labels: int = Field(
        4,
        ge=0,
        description="Until that many labels count in the calibration, stretches without a label "
        "are bounded.",
    )
    warmup_interval: Annotated[int, Unit("MD steps")] = Field(
        10, ge=1, description="Longest such stretch."
    )


class ProofSpec(Spec):
    """What *ready* promises: of the steps at least `coverage` keep the tolerance.

    Examples
    --------
    >>> ProofSpec(coverage=0.95).confidence
    0.95
    """

    coverage: float = Field(
        0.9, gt=0, lt=1, description="Share of the steps that must keep every tolerance."
    )
    confidence: float = Field(
        0.95, gt=0, lt=1, description="Probability with which a model called ready keeps it."
    )
    failures: int = Field(
        1,
        ge=0,
        description="Audits of a closing block that may fail; each is a look with a reserve of "
        "audits, which is labelled only if it is needed.",
    )
    attempts: int = Field(
        3,
        ge=0,
        description="Closing blocks that a run may try, which share the risk of error; `0` proves "
        "nothing, and the model is never called ready.",
    )
    steps: Annotated[int | None, Unit("MD steps")] = Field(
        None,
        ge=1,
        description="Of a closing block over all trajectories, under the conditions of the last "
        "stage; `null` takes what its audits need at `audit_interval`.",
    )
    refit: bool = Field(
        True,
        description="Whether a model that is ready is fitted once more, to all labels, those of "
        "its proof among them. Both weights are published; only those before are proven.",
    )


class GuardsSpec(Spec):
    """Limits that an accepted state keeps; beyond them the MD has left the physical world.

    Examples
    --------
    >>> GuardsSpec(max_temperature=3000).min_distance
    0.5
    """

    max_temperature: Annotated[float | None, Unit("K")] = Field(
        None,
        gt=0,
        description="`null` is 500 K above five times the target (small cells fluctuate much).",
    )
    min_distance: float = Field(
        0.5,
        gt=0,
        lt=1,
        description="Shortest distance between two atoms in units of the sum of their covalent "
        "radii.",
    )
    max_volume_change: float = Field(
        2.0, gt=1, description="Largest ratio of the volume to the initial one, either way."
    )
    max_atoms: Annotated[int, Unit("atoms")] = Field(
        10_000,
        ge=1,
        description="Larger structures are refused before any work: labels of so many atoms are "
        "rarely meant.",
    )


class StoppingSpec(Spec):
    """When a run ends before its stages are done.

    Examples
    --------
    >>> StoppingSpec(max_labels=200).max_failures
    3
    """

    quiet_steps: Annotated[int | None, Unit("MD steps")] = Field(
        None,
        ge=1,
        description="Without a call after which the run goes to its proof early; `null` waits for "
        "all stages.",
    )
    max_labels: int | None = Field(
        None,
        ge=1,
        description="Stop when the run has asked for that many labels, the first one included; "
        "those of earlier runs that it was seeded with do not count.",
    )
    max_failures: int = Field(
        3,
        ge=1,
        description="Failed labels and exploded steps after which the run stops; before that the "
        "MD goes back to its last accepted state, with new velocities.",
    )
