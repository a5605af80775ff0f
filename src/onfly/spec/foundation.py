"""Which foundation potential a run starts from."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from onfly.spec.base import Spec

__all__ = ["FoundationSpec"]


class FoundationSpec(Spec):
    """The pretrained potential; a bare name or path is the short form.

    Raises
    ------
    ValueError
        If a field is of the wrong kind.

    Examples
    --------
    >>> FoundationSpec.model_validate("mace-mp-medium").source
    'mace-mp-medium'
    """

    family: str | None = Field(
        None,
        description="Family of the potential, such as `mace` or `chgnet`; `null` tells it by "
        "`source`. Needed for files whose name leaves it open.",
    )
    source: str = Field(
        "chgnet-0.3.0",
        min_length=1,
        description="Name (`chgnet-0.3.0`, `chgnet-r2scan`, `mace-mp-medium`, `sevennet-0` …), "
        "class model (`class:NAME@VERSION`; `class:NAME` is the newest when the run is made), or "
        "path of a model file. Take one trained at a level of theory near your labeller's.",
    )
    options: dict[str, str | int | float | bool] = Field(
        default_factory=dict,
        description="What the family asks for besides, such as the head, the task or the charge.",
    )

    @model_validator(mode="before")
    @classmethod
    def _bare_name(cls, value: Any) -> Any:
        return {"source": value} if isinstance(value, str) else value

    @property
    def is_plain(self) -> bool:
        """Whether the source says everything, so that the bare name is enough."""
        return self.family is None and not self.options
