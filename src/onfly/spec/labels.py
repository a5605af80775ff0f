"""Where labels come from, and which are accepted."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from onfly.spec.base import Spec, Unit

__all__ = ["LabellerSpec", "LabelsSpec"]


class LabellerSpec(Spec):
    """Which maker labels, and its keywords; a bare name is the short form.

    Examples
    --------
    >>> LabellerSpec.model_validate("emt").name
    'emt'
    """

    name: str = Field(
        min_length=1, description="Short name, or dotted path of an atomate2 Maker class."
    )
    kwargs: dict[str, Any] = Field(default_factory=dict, description="Keywords of the labeller.")

    @model_validator(mode="before")
    @classmethod
    def _short_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class LabelsSpec(Spec):
    """Labels: energies, forces and stresses of an electronic-structure method.

    Examples
    --------
    >>> LabelsSpec(labeller=LabellerSpec(name="emt")).max_force
    50.0
    """

    labeller: LabellerSpec | None = Field(
        None,
        description="Short name, dotted path of an atomate2 Maker, or a mapping with `name` and "
        "`kwargs`.",
    )
    level_of_theory: str | None = Field(
        None,
        description="Free text by which models are found, such as `PBE+U`; `null` takes the "
        "labeller's name.",
    )
    energy_key: Literal["e_fr_energy", "e_0_energy"] = Field(
        "e_fr_energy",
        description="Which of VASP's energies: `e_fr_energy`, whose derivative the forces are, or "
        "`e_0_energy`, extrapolated to zero smearing.",
    )
    max_force: Annotated[float, Unit("eV/Å")] = Field(
        50.0,
        gt=0,
        description="Labels with a larger force are refused. Raise it for reactions under "
        "pressure or radiation damage.",
    )
    max_net_force: Annotated[float | None, Unit("eV/Å")] = Field(
        None,
        gt=0,
        description="Labels whose forces sum to more are refused; `null` does not ask.",
    )
    reuse: bool = Field(
        True,
        description="A configuration that any run has labelled, site by site and with the same "
        "labeller settings, is not calculated again.",
    )
    seed_from: tuple[str, ...] = Field(
        (),
        description="Earlier runs of the same compound, cell size and labeller settings. Their "
        "labels are learned from the start, right after the first one; they do not count in the "
        "calibration. Not for campaigns.",
    )

    @field_validator("seed_from", mode="before")
    @classmethod
    def _one_run(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value
