"""Stages of a temperature and pressure programme, with the field names of atomate2's AseMDMaker."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from onfly.spec.base import Spec, Unit

__all__ = [
    "DYNAMICS",
    "MDStage",
    "StageSpec",
    "TrajectoriesSpec",
    "default_time_step",
    "locate",
    "total_steps",
]

# (ensemble, dynamics) -> whether a temperature ramp is possible; names as in atomate2's presets
DYNAMICS: dict[tuple[str, str], bool] = {
    ("nve", "velocityverlet"): False,
    ("nvt", "langevin"): True,
    ("nvt", "berendsen"): True,
    ("nvt", "bussi"): False,
    ("nvt", "nose-hoover-chain"): False,
    ("npt", "berendsen"): True,
    ("npt", "nose-hoover-chain"): False,
}
_DEFAULT = {"nve": "velocityverlet", "nvt": "langevin", "npt": "nose-hoover-chain"}

_HOTTEST = 100_000.0  # K; bonds of matter as potentials know it end far below
_Kelvin = Annotated[float, Field(gt=0)]


class MDStage(Spec):
    """One stretch of MD at fixed conditions or on a linear ramp; jumps lie between stages.

    Parameters
    ----------
    n_steps
        MD steps of the stage; the only field that may be given by position.
    **fields
        The fields below: ``temperature`` in K, ``pressure`` in kbar, ``time_step`` in fs.

    Raises
    ------
    ValueError
        If the stage is impossible; the message says what to change.

    Examples
    --------
    >>> MDStage(1000, temperature=(300, 600)).temperature_at(999)
    600.0
    """

    n_steps: Annotated[int, Unit("MD steps")] = Field(ge=1, description="Length.")
    temperature: Annotated[_Kelvin | tuple[_Kelvin, _Kelvin] | None, Unit("K")] = Field(
        300.0,
        description="A number, or `[start, end]` for a linear ramp. `null` only for NVE, which "
        "then goes on with the velocities it finds.",
    )
    pressure: Annotated[float | None, Unit("kbar")] = Field(
        None, description="For NPT only, and needed there."
    )
    ensemble: Literal["nve", "nvt", "npt"] = Field("nvt", description="`nve`, `nvt` or `npt`.")
    dynamics: str | None = Field(
        None,
        description="`langevin` (default of nvt), `nose-hoover-chain` (default of npt), `bussi`, "
        "`berendsen`, `velocityverlet` (nve). Ramps need `langevin` or `berendsen`.",
    )
    time_step: Annotated[float | None, Unit("fs")] = Field(
        None, gt=0, le=10, description="Of this stage; `null` takes that of the trajectories."
    )
    ase_md_kwargs: dict[str, Any] = Field(
        default_factory=dict,
        description="Keywords of the ASE class (or of another driver) in ASE's units, such as "
        "`friction`. ASE's unit of time is 10.18 fs, so that a friction of 0.01/fs is `0.1018`.",
    )
    driver: str = Field(
        "md",
        min_length=1,
        description="What moves the atoms: `md`, or the name of a driver that another package "
        "offers by an entry point.",
    )

    def __init__(self, n_steps: int | None = None, /, **fields: Any) -> None:
        super().__init__(**({} if n_steps is None else {"n_steps": n_steps}), **fields)

    @field_validator("temperature", mode="before")
    @classmethod
    def _number_or_pair(cls, value: Any) -> Any:
        # said here, since the errors of a union name all its members
        if isinstance(value, list | tuple):
            if len(value) != 2:
                raise ValueError(
                    f"temperature {list(value)} is neither a number nor a pair [start, end]"
                )
            return (_kelvin(value[0]), _kelvin(value[1]))
        return None if value is None else _kelvin(value)

    @model_validator(mode="after")
    def _possible(self) -> MDStage:
        if self.driver != "md":
            return self  # the driver knows its own conditions
        if (self.ensemble, self.resolved_dynamics) not in DYNAMICS:
            names = ", ".join(d for e, d in DYNAMICS if e == self.ensemble)
            raise ValueError(
                f"dynamics {self.dynamics!r} does not exist for {self.ensemble}: use {names}"
            )
        if self.ensemble != "nve" and self.temperature is None:
            raise ValueError(f"a stage in the {self.ensemble} ensemble needs a temperature")
        if self.is_ramp and not DYNAMICS[self.ensemble, self.resolved_dynamics]:
            raise ValueError(
                f"{self.resolved_dynamics} cannot follow a temperature ramp: use langevin, "
                "or several stages"
            )
        if self.ensemble == "npt" and self.pressure is None:
            raise ValueError("an npt stage needs a pressure in kbar (0.0 for ambient)")
        if self.ensemble != "npt" and self.pressure is not None:
            raise ValueError(f"pressure has no meaning in the {self.ensemble} ensemble: use npt")
        return self

    @property
    def resolved_dynamics(self) -> str:
        """The dynamics, with the ensemble's default filled in."""
        return self.dynamics or _DEFAULT[self.ensemble]

    @property
    def temperatures(self) -> tuple[float, ...]:
        """First and last target temperature in K; empty without one."""
        if self.temperature is None:
            return ()
        if isinstance(self.temperature, tuple):
            return self.temperature
        return (self.temperature, self.temperature)

    @property
    def is_ramp(self) -> bool:
        """Whether the temperature changes within the stage."""
        return isinstance(self.temperature, tuple) and self.temperature[0] != self.temperature[1]

    def temperature_at(self, step: int) -> float | None:
        """Return the target temperature in K at a step of the stage, or None without one."""
        if not isinstance(self.temperature, tuple):
            return self.temperature
        start, end = self.temperature
        return start + (end - start) * min(step / max(self.n_steps - 1, 1), 1.0)


StageSpec = MDStage


def _kelvin(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool) and not value > 0:
        raise ValueError(f"temperature {value} K is not positive")
    if isinstance(value, int | float) and _HOTTEST < value < math.inf:
        raise ValueError(f"temperature {value} K is above {_HOTTEST:g} K")
    return value


class TrajectoriesSpec(Spec):
    """What the trajectories of a run do, and what is kept of them.

    Examples
    --------
    >>> TrajectoriesSpec(stages=(MDStage(1000),), walkers=4).traj_interval
    10
    """

    stages: tuple[MDStage, ...] = Field(
        min_length=1, description="Temperature and pressure programme, one stage after the other."
    )
    walkers: int = Field(
        1,
        ge=1,
        le=10_000,
        description="Trajectories of the compound that share one posterior, each with velocities "
        "of its own.",
    )
    time_step: Annotated[float | None, Unit("fs")] = Field(
        None,
        gt=0,
        le=10,
        description="For stages without one of their own. `null` is 0.5 fs with hydrogen and 2 fs "
        "without.",
    )
    traj_interval: Annotated[int, Unit("MD steps")] = Field(
        10, ge=0, description="Between frames of the trajectory; `0` for none."
    )
    checkpoint_interval: Annotated[int, Unit("MD steps")] = Field(
        100, ge=1, description="Between checkpoints from which a killed run goes on."
    )
    max_walltime: Annotated[float | None, Unit("s")] = Field(
        None,
        gt=0,
        description="After which a job of a chain ends cleanly and the next one is queued.",
    )


def default_time_step(symbols: Sequence[str]) -> float:
    """Return atomate2's default time step in fs: 0.5 with hydrogen, else 2."""
    return 0.5 if "H" in symbols else 2.0


def total_steps(stages: Sequence[MDStage]) -> int:
    """Return the number of steps of all stages."""
    return sum(stage.n_steps for stage in stages)


def locate(stages: Sequence[MDStage], step: int) -> tuple[int, int]:
    """Return (index of the stage, step within it) of a global step.

    Raises
    ------
    IndexError
        If the step lies behind the last stage.
    """
    for index, stage in enumerate(stages):
        if step < stage.n_steps:
            return index, step
        step -= stage.n_steps
    raise IndexError("all stages are done")
