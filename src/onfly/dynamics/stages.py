"""Stages of a temperature and pressure programme, with the field names of atomate2's AseMDMaker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from monty.json import MSONable

__all__ = ["DYNAMICS", "MDStage", "default_time_step", "locate", "total_steps"]

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


@dataclass(frozen=True)
class MDStage(MSONable):
    """One stretch of MD at fixed conditions or on a linear ramp; jumps lie between stages.

    Parameters
    ----------
    n_steps
        MD steps of the stage.
    temperature
        K; two numbers are a linear ramp over the stage. None only for NVE that goes on with the
        velocities of the stage before.
    pressure
        kbar, as in VASP; NPT only.
    ensemble
        ``"nve"``, ``"nvt"`` or ``"npt"``.
    dynamics
        ``"langevin"`` (NVT default), ``"nose-hoover-chain"`` (NPT default), ``"bussi"``,
        ``"berendsen"``, ``"velocityverlet"`` (NVE default).
    time_step
        fs; None is 0.5 fs with hydrogen and 2 fs without.
    ase_md_kwargs
        Further keywords of the ASE class, in ASE's units.

    Raises
    ------
    ValueError
        If the stage is impossible; the message says what to change.
    """

    n_steps: int
    temperature: float | Sequence[float] | None = 300.0
    pressure: float | None = None
    ensemble: str = "nvt"
    dynamics: str | None = None
    time_step: float | None = None
    ase_md_kwargs: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.n_steps < 1:
            raise ValueError(f"n_steps is {self.n_steps}: a stage needs at least one step")
        if self.ensemble not in _DEFAULT:
            raise ValueError(f"ensemble {self.ensemble!r} is not one of nve, nvt, npt")
        if (self.ensemble, self.resolved_dynamics) not in DYNAMICS:
            names = ", ".join(d for e, d in DYNAMICS if e == self.ensemble)
            raise ValueError(
                f"dynamics {self.dynamics!r} does not exist for {self.ensemble}: use {names}"
            )
        if self.ensemble != "nve" and self.temperature is None:
            raise ValueError(f"a stage in the {self.ensemble} ensemble needs a temperature")
        if self.temperature is not None and min(self._temperatures) <= 0:
            raise ValueError(f"temperature {self.temperature} K is not positive")
        if self.is_ramp and not DYNAMICS[self.ensemble, self.resolved_dynamics]:
            raise ValueError(
                f"{self.resolved_dynamics} cannot follow a temperature ramp: use langevin, "
                "or several stages"
            )
        if self.ensemble == "npt" and self.pressure is None:
            raise ValueError("an npt stage needs a pressure in kbar (0.0 for ambient)")
        if self.ensemble != "npt" and self.pressure is not None:
            raise ValueError(f"pressure has no meaning in the {self.ensemble} ensemble: use npt")
        if self.time_step is not None and not 0 < self.time_step <= 10:
            raise ValueError(f"time_step {self.time_step} fs is outside 0 to 10 fs")

    @property
    def resolved_dynamics(self) -> str:
        """The dynamics, with the ensemble's default filled in."""
        return self.dynamics or _DEFAULT[self.ensemble]

    @property
    def _temperatures(self) -> tuple[float, float]:
        value = self.temperature
        if value is None:
            return (0.0, 0.0)
        if isinstance(value, int | float):
            return (float(value), float(value))
        if len(value) != 2:
            raise ValueError(f"temperature {value} is neither a number nor a pair (start, end)")
        return (float(value[0]), float(value[1]))

    @property
    def is_ramp(self) -> bool:
        """Whether the temperature changes within the stage."""
        start, end = self._temperatures
        return start != end

    def temperature_at(self, step: int) -> float | None:
        """Return the target temperature in K at a step of the stage, or None without one."""
        if self.temperature is None:
            return None
        start, end = self._temperatures
        return start + (end - start) * min(step / max(self.n_steps - 1, 1), 1.0)


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
