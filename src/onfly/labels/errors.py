"""The one exception of the labelling layer."""

from __future__ import annotations

__all__ = ["LabelError"]


class LabelError(Exception):
    """A label that must not enter a data set.

    Parameters
    ----------
    reason
        What is wrong with it.
    directory
        Where the calculation ran, if known.
    remedy
        What can be done about it.
    """

    def __init__(
        self, reason: str, directory: str | None = None, remedy: str | None = None
    ) -> None:
        super().__init__(reason, directory, remedy)
        self.reason = reason
        self.directory = directory
        self.remedy = remedy

    def __str__(self) -> str:
        parts = [self.reason]
        if self.directory:
            parts.append(f"directory: {self.directory}")
        if self.remedy:
            parts.append(f"remedy: {self.remedy}")
        return "; ".join(parts)
