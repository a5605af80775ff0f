"""The last job of a relaxation or of a path: its document, and its result for the flow around."""

from __future__ import annotations

from dataclasses import dataclass

from jobflow import Maker

from onfly.artifacts.atomic import atomic_write
from onfly.jobs.base import otf_job
from onfly.rounds.results import barrier_document, relaxation_document
from onfly.schemas import RunState
from onfly.schemas.search import BarrierDoc, RelaxationDoc
from onfly.session import Session

__all__ = ["BarrierResultMaker", "RelaxationResultMaker"]


@dataclass
class RelaxationResultMaker(Maker):
    """Say what came of the relaxations of a run; the document is written beside its model.

    Parameters
    ----------
    name
        Name of the job.
    """

    name: str = "otf relaxed"

    @otf_job(role="gpu", output_schema=RelaxationDoc)
    def make(self, state: RunState, model_id: str | None = None) -> RelaxationDoc:
        """Return the document of a run that has ended."""
        session = Session()
        doc = relaxation_document(session, state.evolve(model_id=model_id))
        folder = session.workspace(state.run_id).folder
        atomic_write(folder / "relaxation.json", doc.model_dump_json(indent=1).encode())
        return doc


@dataclass
class BarrierResultMaker(Maker):
    """Say what came of a path; the document is written beside its model.

    Parameters
    ----------
    name
        Name of the job.
    """

    name: str = "otf barrier"

    @otf_job(role="gpu", output_schema=BarrierDoc)
    def make(self, state: RunState, model_id: str | None = None) -> BarrierDoc:
        """Return the document of a run that has ended."""
        session = Session()
        doc = barrier_document(session, state.evolve(model_id=model_id))
        folder = session.workspace(state.run_id).folder
        atomic_write(folder / "barrier.json", doc.model_dump_json(indent=1).encode())
        return doc
