"""Labels of a run as the output of a job, from which the library takes them."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from onfly.schemas.label import LabelDoc
from onfly.schemas.version import DOC_VERSION, DocVersion

__all__ = ["LabelBatchDoc"]


class LabelBatchDoc(BaseModel):
    """Some labels of one run, few enough for one document of the database."""

    doc_type: Literal["labels"] = "labels"
    doc_version: DocVersion = DOC_VERSION
    run_id: str
    campaign: str | None = None
    first: int = Field(description="Index of the first label.")
    labels: list[LabelDoc]
