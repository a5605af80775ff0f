"""Properties that are measured when a run has ended."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from onfly.spec.base import Spec, Unit

__all__ = ["PropertiesSpec", "PropertyKind"]

PropertyKind = Literal["eos", "elastic", "phonon", "md"]


class PropertiesSpec(Spec):
    """Which properties of the crystal are measured, and against what.

    ``properties: [eos, elastic]`` is short for ``properties: {kinds: [eos, elastic]}``.
    """

    kinds: tuple[PropertyKind, ...] = Field(
        (),
        description="`eos` (volume, energy, bulk modulus), `elastic` (elastic constants), `phonon` "
        "(frequencies; needs phonopy), `md` (radial distribution function and diffusion).",
    )
    labeller: bool = Field(
        False,
        description="Whether the labeller measures them too, in the job that publishes the model; "
        "each relaxation step, strain and displacement is a label.",
    )
    draws: int = Field(
        12,
        ge=2,
        description="From the posterior, whose spread makes the error bars; of a posterior of "
        "members at most their number.",
    )
    fmax: Annotated[float, Unit("eV/Å")] = Field(
        1e-3, gt=0, description="Largest force that is left when structures are relaxed."
    )
    max_atoms: Annotated[int, Unit("atoms")] = Field(
        40, ge=1, description="Larger primitive cells are not measured."
    )
    supercell: Annotated[float, Unit("Å")] = Field(
        8.0, gt=0, description="Shortest vector of the cells of phonons and MD."
    )
    temperature: Annotated[float, Unit("K")] = Field(300.0, gt=0, description="Of `md`.")
    n_steps: Annotated[int, Unit("MD steps")] = Field(
        1000, ge=200, description="Of `md`, after an equilibration of a quarter of them."
    )
    time_step: Annotated[float, Unit("fs")] = Field(2.0, gt=0, description="Of `md`.")

    @field_validator("kinds", mode="before")
    @classmethod
    def _each_once(cls, value: Any) -> Any:
        value = (value,) if isinstance(value, str) else value
        if isinstance(value, list | tuple) and len(set(map(str, value))) < len(value):
            raise ValueError(f"a property is named twice: {', '.join(map(str, value))}")
        return value
