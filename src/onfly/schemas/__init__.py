"""Pydantic documents, in the package's units."""

from onfly.schemas.artifact import ArtifactRef, EnsembleDoc
from onfly.schemas.label import LabelDoc, LabelReason, structure_hash
from onfly.schemas.model import ErrorStatistics, FineTunedModelDoc, WeightsBlob
from onfly.schemas.run import CalibrationDoc, PendingLabel, RunDoc
from onfly.schemas.types import StructureOrMolecule, from_any_structure, to_atoms

__all__ = [
    "ArtifactRef",
    "CalibrationDoc",
    "EnsembleDoc",
    "ErrorStatistics",
    "FineTunedModelDoc",
    "LabelDoc",
    "LabelReason",
    "PendingLabel",
    "RunDoc",
    "StructureOrMolecule",
    "WeightsBlob",
    "from_any_structure",
    "structure_hash",
    "to_atoms",
]
