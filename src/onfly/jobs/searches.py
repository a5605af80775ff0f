"""The last job of a relaxation or of a path: its document, and its result for the flow around."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from jobflow import Maker

from onfly.jobs.base import otf_job
from onfly.rounds.results import RESULTS
from onfly.schemas import RunState
from onfly.schemas.search import BarrierDoc, RelaxationDoc
from onfly.session import Session

__all__ = ["BarrierResultMaker", "RelaxationResultMaker"]

DocT = TypeVar("DocT", RelaxationDoc, BarrierDoc)


@dataclass
class RelaxationResultMaker(Maker):
    """Say what came of the relaxations of a run; the document lies beside its model.

    Parameters
    ----------
    name
        Name of the job.
    """

    name: str = "otf relaxed"

    @otf_job(role="gpu", output_schema=RelaxationDoc)
    def make(self, state: RunState, model_id: str | None = None) -> RelaxationDoc:
        """Return the document of a run that has ended."""
        return _read(RelaxationDoc, state, model_id)


@dataclass
class BarrierResultMaker(Maker):
    """Say what came of a path; the document lies beside its model.

    Parameters
    ----------
    name
        Name of the job.
    """

    name: str = "otf barrier"

    @otf_job(role="gpu", output_schema=BarrierDoc)
    def make(self, state: RunState, model_id: str | None = None) -> BarrierDoc:
        """Return the document of a run that has ended."""
        return _read(BarrierDoc, state, model_id)


def _read(cls: type[DocT], state: RunState, model_id: str | None) -> DocT:
    """Read the document that was written when the model was published."""
    path = Session().workspace(state.run_id).folder / RESULTS[cls]
    doc = cls.model_validate_json(path.read_text())
    return doc.model_copy(update={"model_id": model_id or doc.model_id})
