"""`RunSpec`: all that the user chose for a run, in one tree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from onfly.spec.base import Spec
from onfly.spec.flat import flatten, gather
from onfly.spec.foundation import FoundationSpec
from onfly.spec.labels import LabelsSpec
from onfly.spec.learning import CalibrationSpec, PosteriorSpec
from onfly.spec.loop import GuardsSpec, ProofSpec, RoundsSpec, StoppingSpec
from onfly.spec.properties import PropertiesSpec
from onfly.spec.stages import TrajectoriesSpec
from onfly.spec.tolerance import Tolerance

__all__ = ["RunSpec"]

# Rensmeyer, Kramer, Niggemann, section on settings; (a, b) and members as for MACE
_PAPER: dict[str, Any] = {
    "posterior": {
        "kind": "sghmc",
        "options": {"n_members": 8, "n_steps": 2000},
        "energy_weight": "paper",
    },
    "calibration": {"shape": 1.5, "rate": 10.0, "mode": "mean", "surprise": 0.0},
    "rounds": {
        "initial_labels": 1,
        "look_ahead_labels": 0,
        "length": None,
        "audit_interval": 0,
        "redo_steps": 0,
        "warmup_labels": 0,
    },
    "proof": {"attempts": 0},
    "walkers": 1,
}


class RunSpec(Spec):
    """Everything that is chosen for a run: the YAML, the Makers and the documents hold this tree.

    Inside, energies are in eV, forces in eV/Å, stresses in eV/Å³, times in fs, temperatures in K
    and pressures in kbar. Every field says its unit, its limits and its default; the page
    "Configuration" of the documentation is made of them.

    Raises
    ------
    ValueError
        If a setting is unknown or impossible; the message names it.

    Examples
    --------
    >>> spec = RunSpec.from_flat({"threshold": "50 meV", "stages": [{"n_steps": 100}]})
    >>> spec.tolerance[0].value, spec.rounds.audit_interval
    (0.05, 100)
    """

    foundation: FoundationSpec = Field(
        default_factory=FoundationSpec, description="The potential that the run starts from."
    )
    tolerance: tuple[Tolerance, ...] = Field(
        min_length=1, description="Largest errors; whichever is exceeded asks for a label."
    )
    trajectories: TrajectoriesSpec = Field(description="The MD of the run.")
    rounds: RoundsSpec = Field(
        default_factory=RoundsSpec, description="Explore, label, judge, learn."
    )
    proof: ProofSpec = Field(
        default_factory=ProofSpec, description="What a model called ready promises."
    )
    posterior: PosteriorSpec = Field(
        default_factory=PosteriorSpec, description="How the weights are sampled."
    )
    calibration: CalibrationSpec = Field(
        default_factory=CalibrationSpec, description="How past errors scale the error bars."
    )
    labels: LabelsSpec = Field(
        default_factory=LabelsSpec, description="Where labels come from, and which are accepted."
    )
    guards: GuardsSpec = Field(
        default_factory=GuardsSpec, description="Limits that an accepted state keeps."
    )
    stopping: StoppingSpec = Field(
        default_factory=StoppingSpec, description="When the run ends early."
    )
    properties: PropertiesSpec = Field(
        default_factory=PropertiesSpec,
        description="Properties of the crystal that are measured when the run has ended.",
    )
    seed: int = Field(
        0, ge=0, description="Of all random streams: the same seed gives the same run."
    )

    @field_validator("tolerance", mode="before")
    @classmethod
    def _one_tolerance(cls, value: Any) -> Any:
        return (value,) if isinstance(value, dict | Tolerance) else value

    @model_validator(mode="after")
    def _names_differ(self) -> RunSpec:
        names = [t.name for t in self.tolerance]
        if twice := sorted({n for n in names if names.count(n) > 1}):
            raise ValueError(
                f"tolerance {twice[0]} is given twice: one value for each quantity and scope"
            )
        return self

    @classmethod
    def from_flat(cls, mapping: Mapping[str, Any], *, units_required: bool = False) -> Self:
        """Build from flat keys (``threshold``, ``stages`` …), from groups, or from both.

        Parameters
        ----------
        mapping
            Keys of `onfly.spec.flat.FLAT_KEYS` and groups.
        units_required
            Whether a number without a unit is an error, as in a file; otherwise it is in eV, eV/Å
            or eV/Å³.

        Raises
        ------
        ValueError
            If a key is unknown, has no meaning any more, or has an impossible value.
        """
        return cls.model_validate(
            gather(mapping).groups, context={"units_required": units_required}
        )

    def to_flat(self, *, defaults: bool = False) -> dict[str, Any]:
        """Return the flat keys, as JSON values, that `from_flat` reads back.

        Parameters
        ----------
        defaults
            Whether settings at their default are contained.
        """
        return flatten(self, defaults=defaults)

    @classmethod
    def paper(cls, **overrides: Any) -> Self:
        """Return the settings of the paper (Rensmeyer, Kramer, Niggemann 2026).

        Eight chains of 2000 steps, the calibration's prior (1.5, 10) without surprise, one
        trajectory from one label, no warm-up, no audits and hence no proof.

        Parameters
        ----------
        **overrides
            Flat keys or groups; a group is merged into the paper's.

        Examples
        --------
        >>> RunSpec.paper(threshold="15 kcal/mol", stages=[{"n_steps": 100}]).posterior.kind
        'sghmc'
        """
        from onfly.spec.flat import merge

        return cls.model_validate(merge(gather(_PAPER).groups, gather(overrides).groups))
