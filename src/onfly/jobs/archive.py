"""Labels from the folder of a run to the outputs of jobs, so that the library finds them.

Between the jobs of a run labels stay in its folder: references to a growing data set would be
resolved by every segment.
"""

from __future__ import annotations

from dataclasses import dataclass

from jobflow import Job, Maker

from onfly.artifacts.workspace import RunWorkspace
from onfly.jobs.base import otf_job
from onfly.schemas.label_batch import LabelBatchDoc
from onfly.settings import get_settings

__all__ = ["ArchiveLabelsMaker"]


@dataclass
class ArchiveLabelsMaker(Maker):
    """Output the labels of a run that has ended.

    Parameters
    ----------
    name
        Name of the jobs.
    max_mb
        Size of the label files in one output; None is half of the largest document.
    """

    name: str = "otf archive labels"
    max_mb: float | None = None

    def jobs(self, run_id: str, campaign: str | None, n_labels: int) -> list[Job]:
        """Return one job for each part of the labels that fits into a document."""
        limit = 1e6 * (self.max_mb or get_settings().MAX_DOC_MB / 2)
        sizes = _workspace(run_id).label_sizes()[:n_labels]
        bounds, filled = [0], 0
        for index, size in enumerate(sizes):
            if filled and filled + size > limit:
                bounds.append(index)
                filled = 0
            filled += size
        ends = [*bounds[1:], len(sizes)]
        return [
            self.make(run_id, campaign, first, last)
            for first, last in zip(bounds, ends, strict=True)
            if last > first
        ]

    @otf_job(output_schema=LabelBatchDoc)
    def make(self, run_id: str, campaign: str | None, first: int, last: int) -> LabelBatchDoc:
        """Return labels ``first`` to ``last - 1``."""
        labels = _workspace(run_id).labels()[first:last]
        return LabelBatchDoc(run_id=run_id, campaign=campaign, first=first, labels=labels)


def _workspace(run_id: str) -> RunWorkspace:
    return RunWorkspace(get_settings().ARTIFACT_DIR, run_id)
