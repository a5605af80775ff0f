"""The configuration file of a run: validated as a whole before any work starts."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from jobflow import Maker
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from onfly.bayes.posterior import posterior_from_dict
from onfly.dynamics.stages import MDStage
from onfly.dynamics.stopping import StoppingRule
from onfly.flows.finetune import OnTheFlyMaker
from onfly.jobs.calibrate import CalibrationMaker
from onfly.jobs.initial import DEFAULT_POSTERIOR, InitialEnsembleMaker
from onfly.jobs.segment import SegmentMaker
from onfly.jobs.update import UpdateMaker
from onfly.labels.presets import label_maker
from onfly.structures import read_structure
from onfly.units import energy_to_ev

__all__ = ["LabellerConfig", "RunConfig", "RunSettings", "StageConfig", "read_structure"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class StageConfig(_Strict):
    """One stage; see `onfly.dynamics.stages.MDStage`."""

    n_steps: int = Field(ge=1)
    temperature: float | tuple[float, float] | None = Field(300.0, description="K")
    pressure: float | None = Field(None, description="kbar, npt only")
    ensemble: Literal["nve", "nvt", "npt"] = "nvt"
    dynamics: str | None = None
    time_step: float | None = Field(None, description="fs")
    ase_md_kwargs: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _possible(self) -> StageConfig:
        self.stage()
        return self

    def stage(self) -> MDStage:
        """Return the stage."""
        return MDStage(**self.model_dump())


class LabellerConfig(_Strict):
    """Which maker labels, and its keywords."""

    name: str = Field(description="Short name, or dotted name of an atomate2 Maker.")
    kwargs: dict[str, Any] = Field(default_factory=dict)


class StoppingConfig(_Strict):
    """See `onfly.dynamics.stopping.StoppingRule`."""

    quiet_steps: int | None = Field(None, ge=1)
    min_audits: int = Field(10, ge=0)
    min_coverage: float = Field(0.95, gt=0, le=1)
    closing_steps: int = Field(0, ge=0)
    max_labels: int | None = Field(None, ge=1)


class RunSettings(_Strict):
    """What is set for a run, or for all runs of a campaign."""

    foundation_model: str = "chgnet-0.3.0"
    threshold: str = Field(description="With unit, such as '50 meV' or '1 kcal/mol'.")
    threshold_per_atom: bool = False
    labeller: LabellerConfig = Field(description="A short name, or name and kwargs.")
    stages: list[StageConfig] = Field(min_length=1)
    time_step: float | None = Field(None, gt=0, le=10, description="fs, for stages without one")
    posterior: dict[str, Any] = Field(default_factory=lambda: dict(DEFAULT_POSTERIOR))
    strategy: Literal["sequential", "stacked", "auto"] = "sequential"
    max_probability: float = Field(0.05, gt=0, lt=1)
    audit_interval: int = Field(100, ge=0)
    warmup_labels: int = Field(4, ge=0)
    warmup_interval: int = Field(10, ge=1)
    stopping: StoppingConfig = Field(default_factory=StoppingConfig)
    audit_update_fraction: float = Field(0.5, ge=0, le=1)
    calibration_mode: Literal["mean", "ema"] = "mean"
    energy_key: Literal["e_fr_energy", "e_0_energy"] = "e_fr_energy"
    max_force: float = Field(50.0, gt=0, description="eV/Å")
    max_failures: int = Field(3, ge=1)
    reuse_labels: bool = Field(True, description="Take labels that another run has paid for.")
    traj_interval: int = Field(10, ge=0)
    checkpoint_interval: int = Field(100, ge=1)
    level_of_theory: str | None = None
    mode: Literal["resident", "chained"] = "resident"
    n_workers: int | None = Field(None, ge=1)
    seed: int = 0

    @field_validator("labeller", mode="before")
    @classmethod
    def _short_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("labeller")
    @classmethod
    def _labeller_exists(cls, value: LabellerConfig) -> LabellerConfig:
        try:
            label_maker(value.name, **value.kwargs)
        except (ImportError, TypeError) as error:
            raise ValueError(str(error)) from error
        return value

    @field_validator("threshold", mode="before")
    @classmethod
    def _number_without_unit(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int | float) else value

    @field_validator("threshold")
    @classmethod
    def _threshold_has_unit(cls, value: str) -> str:
        cls.split_threshold(value)
        return value

    @field_validator("posterior")
    @classmethod
    def _posterior_exists(cls, value: dict[str, Any]) -> dict[str, Any]:
        try:
            posterior_from_dict(value)
        except TypeError as error:
            raise ValueError(str(error)) from error
        return value

    @staticmethod
    def split_threshold(text: str) -> tuple[float, str]:
        """Split ``"1 kcal/mol"`` into number and unit."""
        match = re.fullmatch(r"\s*([-+0-9.eE]+)\s*([A-Za-z/]+)\s*", text)
        if match is None:
            raise ValueError(f"{text!r} is not a number with a unit, such as '50 meV'")
        number, unit = float(match[1]), match[2]
        if not energy_to_ev(number, unit) > 0:
            raise ValueError(f"threshold {text!r} is not positive")
        return number, unit

    def label_maker(self) -> Maker:
        """Return the labeller."""
        return label_maker(self.labeller.name, **self.labeller.kwargs)

    def maker(self) -> OnTheFlyMaker:
        """Return the maker of the run."""
        threshold, unit = self.split_threshold(self.threshold)
        segment = SegmentMaker(
            stages=[stage.stage() for stage in self.stages],
            time_step=self.time_step,
            max_probability=self.max_probability,
            audit_interval=self.audit_interval,
            warmup_labels=self.warmup_labels,
            warmup_interval=self.warmup_interval,
            stopping=StoppingRule(**self.stopping.model_dump()),
            reuse_labels=self.reuse_labels,
            traj_interval=self.traj_interval,
            checkpoint_interval=self.checkpoint_interval,
            calibration_maker=CalibrationMaker(
                mode=self.calibration_mode, audit_update_fraction=self.audit_update_fraction
            ),
            update_maker=UpdateMaker(n_workers=self.n_workers),
        )
        return OnTheFlyMaker(
            foundation_model=self.foundation_model,
            threshold=threshold,
            threshold_unit=unit,
            threshold_per_atom=self.threshold_per_atom,
            mode=self.mode,
            label_maker=self.label_maker(),
            initial_maker=InitialEnsembleMaker(posterior=self.posterior, strategy=self.strategy),
            segment_maker=segment,
            energy_key=self.energy_key,
            max_force=self.max_force,
            max_failures=self.max_failures,
            level_of_theory=self.level_of_theory,
            seed=self.seed,
        )


class RunConfig(RunSettings):
    """Everything about one run. Paths are relative to the configuration file."""

    structure: Path = Field(description="POSCAR, cif, (ext)xyz … of the initial structure.")
    periodic: bool | None = Field(
        None, description="Needed if the file has a cell but says that no direction is periodic."
    )
    run_id: str | None = None
    seed_from: list[str] = Field(
        default_factory=list, description="Earlier runs whose labels are learned from the start."
    )

    def maker(self) -> OnTheFlyMaker:
        """Return the maker of the run."""
        maker = super().maker()
        return replace(maker, initial_maker=replace(maker.initial_maker, seed_from=self.seed_from))
