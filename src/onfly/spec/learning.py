"""How a run learns: the posterior over the weights, and the calibration of its error bars."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from onfly.spec.base import Spec, Unit

__all__ = ["CalibrationSpec", "PosteriorSpec"]


class PosteriorSpec(Spec):
    """How the weights are sampled; keys that are none of these are options of the kind.

    Raises
    ------
    ValueError
        If an option is given twice.

    Examples
    --------
    >>> PosteriorSpec.model_validate({"kind": "sghmc", "n_members": 4}).options
    {'n_members': 4}
    """

    kind: str = Field(
        "last_layer",
        min_length=1,
        description="`last_layer`, `sghmc`, or one that another package offers by an entry point.",
    )
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="Settings of the kind; they may stand beside `kind` as well.",
    )
    strategy: Literal["sequential", "stacked", "auto"] = Field(
        "sequential",
        description="How the members are evaluated in MD: `sequential`, `stacked` (all at once, "
        "faster for small systems) or `auto` (measured once at the start; results then depend on "
        "the machine in the last digits).",
    )
    energy_weight: Literal["balanced", "paper"] = Field(
        "balanced",
        description="σ_E, the std of the energy in the likelihood: `paper` is 10 % of the energy "
        "tolerance; `balanced` is at most σ_F·√(N/3), so that large cells do not neglect their "
        "energies.",
    )
    n_workers: Annotated[int | None, Unit("processes")] = Field(
        None, ge=1, description="For the chains of an update; `null` takes all usable cores."
    )

    @model_validator(mode="before")
    @classmethod
    def _options(cls, data: Any) -> Any:
        if isinstance(data, str):
            return {"kind": data}
        if not isinstance(data, dict):
            return data
        own = {k: v for k, v in data.items() if k in cls.model_fields}
        rest = {k: v for k, v in data.items() if k not in cls.model_fields}
        if not rest:
            return data
        options = own.get("options", {})
        if isinstance(options, dict) and (twice := sorted(options.keys() & rest.keys())):
            raise ValueError(f"{', '.join(twice)} is given twice: beside kind and in options")
        return own | {"options": {**options, **rest}}


class CalibrationSpec(Spec):
    """What the errors of past labels say about the standard deviation.

    Raises
    ------
    ValueError
        If only one of `shape` and `rate` is given.

    Examples
    --------
    >>> CalibrationSpec(mode="ema").decay
    0.95
    """

    shape: float | None = Field(
        None,
        gt=0,
        description="Shape a of the Gamma prior, given together with `rate`; `null` takes the "
        "foundation model's default.",
    )
    rate: float | None = Field(None, gt=0, description="Rate b of the Gamma prior.")
    prior: Literal["foundation", "library"] = Field(
        "foundation",
        description="Where shape and rate come from if they are not given: the foundation model's "
        "default, or (`calibration: library` for short) the errors of earlier runs in the library "
        "with the same foundation model and posterior, learned when the run is made.",
    )
    mode: Literal["mean", "ema"] = Field(
        "mean",
        description="`ema` forgets old errors: for runs through phase transitions or very "
        "different temperatures.",
    )
    decay: float = Field(
        0.95, gt=0, le=1, description="Of the weight of older labels per new one, for `ema`."
    )
    surprise: float = Field(
        0.02,
        ge=0,
        lt=1,
        description="How readily the calibration forgets a history that the newest errors "
        "contradict; `0` never, as in the paper.",
    )

    @model_validator(mode="after")
    def _together(self) -> CalibrationSpec:
        if (self.shape is None) != (self.rate is None):
            missing = "rate" if self.rate is None else "shape"
            raise ValueError(f"shape and rate belong together: give {missing} as well, or neither")
        return self
