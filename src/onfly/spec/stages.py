"""Stages of a temperature and pressure programme, with the field names of atomate2's AseMDMaker."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from onfly.spec.base import Spec, Unit
from onfly.spec.quantities import parse_quantity

__all__ = [
    "DYNAMICS",
    "SEARCHES",
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

# drivers that look for a stationary point: no clock, no temperature, and a label that decides
SEARCHES = ("relax", "neb")
# largest force at the end, in eV/Å
_FMAX = {"relax": 0.02, "neb": 0.05}
_OPTIMIZER: dict[str, Literal["bfgs", "lbfgs", "fire"]] = {"relax": "bfgs", "neb": "fire"}
# settings of a stage that have a meaning for these drivers only
_OF_SEARCHES = ("fmax", "optimizer", "decisions", "calls", "cell", "climb", "tangent", "spring")
_OF_MD = ("ensemble", "dynamics", "time_step", "ase_md_kwargs")

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
        description="What moves the atoms: `md`, `relax` (to the nearest minimum), `neb` (a path "
        "between two minima), or the name of a driver that another package offers by an entry "
        "point.",
    )
    fmax: Annotated[float | None, Unit("eV/Å")] = Field(
        None,
        gt=0,
        description="For `relax` and `neb`: largest force at the end, by the model and by the "
        "label that decides; a number, or with its unit as `20 meV/Å`. `null` is 0.02 for `relax` "
        "and 0.05 for `neb`.",
    )
    optimizer: Literal["bfgs", "lbfgs", "fire"] | None = Field(
        None,
        description="For `relax` and `neb`: the optimizer of ASE; `null` is `bfgs` for `relax` and "
        "`fire` for `neb`.",
    )
    decisions: Annotated[int | None, Unit("rounds")] = Field(
        None,
        ge=1,
        description="For `relax` and `neb`: rounds of labels that may decide before the run gives "
        "up; `null` is 10.",
    )
    calls: bool = Field(
        False,
        description="For `relax` and `neb`: whether the criterion asks for labels on the way and "
        "at images of a path as well; `false` leaves it to the guards and to the labels that "
        "decide, which costs fewer labels and trusts the model to find the way.",
    )
    cell: bool = Field(
        False, description="For `relax`: whether the cell is relaxed as well, at `pressure`."
    )
    climb: bool = Field(
        True, description="For `neb`: whether the highest image climbs to the saddle point."
    )
    tangent: Literal["improvedtangent", "aseneb"] = Field(
        "improvedtangent", description="For `neb`: the method of ASE's `NEB`."
    )
    spring: Annotated[float, Unit("eV/Å²")] = Field(
        0.1, gt=0, description="For `neb`: spring constant between the images."
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

    @field_validator("fmax", mode="before")
    @classmethod
    def _force(cls, value: Any) -> Any:
        return parse_quantity(value, "force") if isinstance(value, str) else value

    @model_validator(mode="before")
    @classmethod
    def _cold(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("driver") in SEARCHES:
            if data.get("temperature") is not None:
                raise ValueError(
                    f"a stage of the driver {data['driver']} has no temperature: leave it out"
                )
            return {**data, "temperature": None}
        return data

    @model_validator(mode="after")
    def _possible(self) -> MDStage:
        if self.driver in SEARCHES:
            return self._searches()
        if self.driver != "md":
            return self  # the driver knows its own conditions
        if given := self._given(_OF_SEARCHES):
            raise ValueError(f"{given[0]} is a setting of the drivers relax and neb, not of md")
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

    def _given(self, names: Sequence[str]) -> list[str]:
        """Return which of these settings are not at their default."""
        return [
            n
            for n in names
            if getattr(self, n) != type(self).model_fields[n].get_default(call_default_factory=True)
        ]

    def _searches(self) -> MDStage:
        foreign = [
            *_OF_MD,
            *(("cell",) if self.driver == "neb" else ("climb", "tangent", "spring")),
        ]
        if given := self._given(foreign):
            raise ValueError(
                f"{given[0]} has no meaning for the driver {self.driver}: leave it out"
            )
        if self.pressure is not None and not self.cell:
            raise ValueError("pressure has no meaning in a relaxation without `cell: true`")
        return self

    @property
    def searches(self) -> bool:
        """Whether the stage looks for a stationary point instead of running MD."""
        return self.driver in SEARCHES

    @property
    def needs_stress(self) -> bool:
        """Whether the stage moves the cell."""
        return self.cell if self.searches else self.ensemble == "npt"

    @property
    def resolved_fmax(self) -> float:
        """Largest force at the end in eV/Å, with the default of the driver filled in."""
        return self.fmax or _FMAX.get(self.driver, 0.02)

    @property
    def resolved_optimizer(self) -> Literal["bfgs", "lbfgs", "fire"]:
        """The optimizer, with the default of the driver filled in."""
        return self.optimizer or _OPTIMIZER.get(self.driver, "bfgs")

    @property
    def resolved_decisions(self) -> int:
        """Rounds of deciding labels, with the default filled in."""
        return self.decisions or 10

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

    Raises
    ------
    ValueError
        If stages, driver and number of trajectories do not go together.

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

    @model_validator(mode="after")
    def _one_search(self) -> TrajectoriesSpec:
        drivers = [stage.driver for stage in self.stages]
        found = [driver for driver in drivers if driver in SEARCHES]
        if found and len(drivers) > 1:
            raise ValueError(
                f"a run with the driver {found[0]} has one stage, not {len(drivers)}: make a run "
                "of its own for what follows, which starts from the relaxed structure and learns "
                "the labels with seed_from"
            )
        if found == ["neb"] and self.walkers < 3:
            raise ValueError(
                f"a path has at least 3 images, the two ends included: walkers is {self.walkers}"
            )
        return self


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
