"""All that the user chooses for a run: one tree of settings, each declared once.

Reading and validating a file imports neither torch nor pymatgen nor jobflow.
"""

from __future__ import annotations

from onfly.spec.base import Spec, Unit
from onfly.spec.foundation import FoundationSpec
from onfly.spec.labels import LabellerSpec, LabelsSpec
from onfly.spec.learning import CalibrationSpec, PosteriorSpec
from onfly.spec.loop import GuardsSpec, ProofSpec, RoundsSpec, StoppingSpec
from onfly.spec.properties import PropertiesSpec
from onfly.spec.run import RunSpec
from onfly.spec.stages import MDStage, StageSpec, TrajectoriesSpec
from onfly.spec.tolerance import Tolerance

__all__ = [
    "CalibrationSpec",
    "FoundationSpec",
    "GuardsSpec",
    "LabellerSpec",
    "LabelsSpec",
    "MDStage",
    "PosteriorSpec",
    "ProofSpec",
    "PropertiesSpec",
    "RoundsSpec",
    "RunSpec",
    "Spec",
    "StageSpec",
    "StoppingSpec",
    "Tolerance",
    "TrajectoriesSpec",
    "Unit",
]
