"""How a class model is fitted, and how a campaign makes and uses one."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator

from onfly.spec.base import Spec, Unit

__all__ = ["ClassCampaignSpec", "ClassFitSpec", "check_class_name"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")


def check_class_name(value: str) -> str:
    """Return the name of a class if it can name folders and documents.

    Raises
    ------
    ValueError
        If it cannot.
    """
    if not _NAME.fullmatch(value):
        raise ValueError(
            f"{value!r} cannot name a class: use letters, digits, '.', '_', '+' and '-', at most "
            "100 of them"
        )
    return value


class ClassFitSpec(Spec):
    """How the labels of many compounds are learned together.

    Examples
    --------
    >>> ClassFitSpec(n_steps=500).folds
    3
    """

    n_steps: Annotated[int, Unit("steps")] = Field(
        1500, ge=1, le=1_000_000, description="Steps of Adam over all labels and the replay."
    )
    batch_size: Annotated[int, Unit("labels")] = Field(
        8, ge=1, le=10_000, description="Labels and replayed configurations in one step."
    )
    step_size: float | None = Field(
        None, gt=0, description="Largest step size; `null` takes the foundation's own for fits."
    )
    prior_std: float | None = Field(
        None,
        gt=0,
        description="Width of the prior around the foundation; `null` takes the foundation's.",
    )
    element_ridge: float = Field(
        1e-3,
        gt=0,
        description="Ridge on the energy shifts of the elements, in units of a compound's weight.",
    )
    replay: Annotated[int, Unit("structures")] = Field(
        60,
        ge=0,
        le=100_000,
        description="Crystals of other elements, on which the foundation's own predictions are "
        "kept; two atoms at short distance, for each pair of elements, come on top. 0 replays "
        "nothing.",
    )
    check: Annotated[int, Unit("structures")] = Field(
        50,
        ge=0,
        le=100_000,
        description="Unrelated crystals, none of the replay, on which is measured what changed.",
    )
    folds: Annotated[int, Unit("folds")] = Field(
        3,
        ge=0,
        le=1000,
        description="Parts into which the compounds are divided, each left out once, to measure "
        "width and calibration: as many more fits. 0 measures nothing and keeps the foundation's.",
    )
    fold_compounds: Annotated[int, Unit("compounds")] = Field(
        6,
        ge=1,
        description="At most so many compounds learn their first labels, each left out, to measure "
        "width and calibration.",
    )
    fold_labels: Annotated[int, Unit("labels")] = Field(
        4, ge=1, description="Labels that such a compound learns before it is judged by the rest."
    )
    seed: int = Field(0, ge=0, description="Of minibatches, replay and folds.")


class ClassCampaignSpec(Spec):
    """A campaign whose later compounds start from what the earlier ones have taught.

    Examples
    --------
    >>> ClassCampaignSpec(name="perovskites", every=4).order
    'diversity'
    """

    name: str = Field(description="Name of the class; `class:NAME@VERSION` are its models.")
    every: Annotated[int, Unit("compounds")] = Field(
        4, ge=1, description="Compounds that are started together; then the class is updated."
    )
    order: Literal["diversity", "given"] = Field(
        "diversity",
        description="`diversity`: each compound is the one farthest from those before it, by "
        "elements and structure; `given`: as the file has them.",
    )
    fit: ClassFitSpec = Field(
        default_factory=ClassFitSpec, description="How the class model is fitted."
    )

    @field_validator("name")
    @classmethod
    def _can_name_folders(cls, value: str) -> str:
        return check_class_name(value)
