"""What the job of a label puts out in place of a label: why it failed, or where the label is."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from onfly.labels.errors import LabelError
from onfly.labels.reasons import label_error

__all__ = [
    "FailedLabelDoc",
    "KeptLabelDoc",
    "failed_label",
    "is_failed_label",
    "kept_label",
]


class FailedLabelDoc(BaseModel):
    """Why there is no label."""

    doc_type: Literal["failed_label"] = "failed_label"
    reason: str = Field(description="What went wrong.")
    remedy: str | None = Field(None, description="What can be done about it.")
    dir_name: str | None = Field(None, description="Directory of the calculation.")

    def error(self) -> LabelError:
        """Return it as the exception it was."""
        return LabelError(self.reason, self.dir_name, self.remedy)


class KeptLabelDoc(BaseModel):
    """A label that an earlier try of the same job wrote to the disk."""

    doc_type: Literal["kept_label"] = "kept_label"
    label: str = Field(description="Key in the store of labels.")


def kept_label(output: Any) -> str | None:
    """Return the key of the label that the output of a job names, or None if it is none such."""
    if isinstance(output, KeptLabelDoc):
        return output.label
    if isinstance(output, dict) and output.get("doc_type") == "kept_label":
        return KeptLabelDoc.model_validate(output).label
    return None


def is_failed_label(output: Any) -> bool:
    """Whether the output of a job says why there is no label."""
    if isinstance(output, dict):
        return output.get("doc_type") == "failed_label"
    return isinstance(output, FailedLabelDoc)


def failed_label(error: BaseException, directory: str | None = None) -> FailedLabelDoc:
    """Return the document of a failure; see `onfly.labels.reasons.label_error`."""
    cause = label_error(error, directory)
    return FailedLabelDoc(
        reason=cause.reason, remedy=cause.remedy, dir_name=cause.directory or directory
    )
