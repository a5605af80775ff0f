"""Labels of a run that has ended to the outputs of jobs, so that the library finds them.

Between the jobs of a run labels stay in the label store: references to a growing data set would be
resolved by every round.
"""

from __future__ import annotations

from dataclasses import dataclass

from jobflow import Job, Maker

from onfly.jobs.base import otf_job
from onfly.schemas import RunState
from onfly.schemas.label_batch import LabelBatchDoc
from onfly.session import Session

__all__ = ["ArchiveLabelsMaker"]


@dataclass
class ArchiveLabelsMaker(Maker):
    """Output the labels of a run that has ended.

    Parameters
    ----------
    name
        Name of the jobs.
    max_mb
        Size of the labels in one output; None is half of the largest document.
    """

    name: str = "otf archive labels"
    max_mb: float | None = None

    def jobs(self, session: Session, state: RunState) -> list[Job]:
        """Return one job for each part of the labels that fits into a document."""
        limit = 1e6 * (self.max_mb or session.settings.MAX_DOC_MB / 2)
        bounds, filled, end = [0], 0, 0
        for label in session.open(state.posterior).labels_in_context():
            size = len(label.model_dump_json())
            if filled and filled + size > limit:
                bounds.append(label.index or 0)
                filled = 0
            filled += size
            end = (label.index or 0) + 1
        ends = [*bounds[1:], end]
        return [
            self.make(state.run_id, state.posterior.campaign, first, last)
            for first, last in zip(bounds, ends, strict=True)
            if last > first
        ]

    @otf_job(output_schema=LabelBatchDoc)
    def make(self, run_id: str, campaign: str | None, first: int, last: int) -> LabelBatchDoc:
        """Return the labels of the ledger's entries ``first`` to ``last - 1``."""
        session = Session()
        run = session.open(session.workspace(run_id).read_state().posterior)
        labels = [label for label in run.labels_in_context() if first <= (label.index or 0) < last]
        return LabelBatchDoc(run_id=run_id, campaign=campaign, first=first, labels=labels)
