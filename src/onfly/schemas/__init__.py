"""Pydantic documents, in the package's units."""

from onfly.schemas.artifact import ArtifactRef, EnsembleDoc
from onfly.schemas.label import LabelDoc, LabelReason, structure_hash
from onfly.schemas.model import ErrorStatistics, FineTunedModelDoc, WeightsBlob
from onfly.schemas.posterior import (
    CalibrationDoc,
    ForceCalibrationDoc,
    Phase,
    PlaceDoc,
    PosteriorDoc,
    RequestDoc,
    RunState,
    StressCalibrationDoc,
    SuppliedRef,
    TrajectoryDoc,
)
from onfly.schemas.properties import PropertiesDoc, PropertyDoc, PropertyValueDoc
from onfly.schemas.types import StructureOrMolecule, from_any_structure, to_atoms, to_structure

__all__ = [
    "ArtifactRef",
    "CalibrationDoc",
    "EnsembleDoc",
    "ErrorStatistics",
    "FineTunedModelDoc",
    "ForceCalibrationDoc",
    "LabelDoc",
    "LabelReason",
    "Phase",
    "PlaceDoc",
    "PosteriorDoc",
    "PropertiesDoc",
    "PropertyDoc",
    "PropertyValueDoc",
    "RequestDoc",
    "RunState",
    "StressCalibrationDoc",
    "StructureOrMolecule",
    "SuppliedRef",
    "TrajectoryDoc",
    "WeightsBlob",
    "from_any_structure",
    "structure_hash",
    "to_atoms",
    "to_structure",
]
