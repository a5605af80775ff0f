"""A failed label as the output of its job, so that the reason travels along a chain.

When a job fails, the jobs after it see that its output is missing, and not why. The reason is
therefore an output of its own kind, from which `extract_label` raises.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from jobflow import Job, Maker, job

from onfly.artifacts.atomic import is_full_disk
from onfly.labels.answers import LabelRequest, answer_lock, keep_answer, kept_answer
from onfly.labels.failed import FailedLabelDoc, KeptLabelDoc, failed_label

__all__ = ["FailedLabelDoc", "ReportingMaker", "failed_label", "report_failures"]


@dataclass
class ReportingMaker(Maker):
    """Run the job of another maker; where that raises, return a `FailedLabelDoc`.

    Parameters
    ----------
    name
        Name of the job.
    label_maker
        A maker whose ``make`` is a job (not a flow).
    request
        Fields of the `LabelRequest` that the label answers; it is then on disk before the job
        ends, and a job that is started again finds it there. None keeps nothing.
    """

    name: str = "label"
    label_maker: Maker = field(default_factory=Maker)
    request: dict[str, Any] | None = None

    @job
    def make(self, *args: Any, **kwargs: Any) -> Any:
        """Do what the job of the maker does, within the job that is running."""
        if self.request is None:
            return self._output(*args, **kwargs)
        request = LabelRequest(**self.request)
        # two workers on one label: the second is refused, which is a failed job and no failed label
        with answer_lock(request.run_id, request.key):
            if (key := kept_answer(request)) is not None:
                return KeptLabelDoc(label=key)
            output = self._output(*args, **kwargs)
            if args and not isinstance(output, FailedLabelDoc):
                keep_answer(request, args[0], output)
            return output

    def _output(self, *args: Any, **kwargs: Any) -> Any:
        method = type(self.label_maker).make
        function = getattr(method, "original", method)
        try:
            return function(self.label_maker, *args, **kwargs)
        except BaseException as error:  # sys.exit of a labeller must not end the worker
            if self.request is not None and is_full_disk(error):
                raise  # a job without an output is asked for again
            return failed_label(error, str(Path.cwd()))


def report_failures(label: Job, request: LabelRequest | None = None) -> Job:
    """Let a label job return the reason of its failure instead of raising.

    Everything else of the job (name, stores of large data, configuration, metadata) stays.

    Parameters
    ----------
    label
        Made by any maker of labels; it is changed in place and returned. A job of a bare function
        comes back unchanged.
    request
        What the label is for: see `ReportingMaker`.
    """
    maker = label.maker
    if maker is None or isinstance(maker, ReportingMaker):
        return label
    fields = None if request is None else asdict(request)
    label.function = ReportingMaker(name=label.name, label_maker=maker, request=fields).make
    # the schema is that of a label that succeeded
    none: Any = None
    label.output_schema = none
    label.output.output_schema = none
    return label
