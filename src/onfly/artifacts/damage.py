"""What a check of files and stores found, in one line each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Problem"]


@dataclass(frozen=True)
class Problem:
    """Something that is damaged or missing.

    Parameters
    ----------
    where
        File, collection or model.
    message
        What is wrong with it.
    remedy
        What to do, and from what it can be made again.
    level
        ``"error"`` where something cannot be used, ``"warning"`` where a second copy is sound.
    """

    where: str
    message: str
    remedy: str
    level: Literal["error", "warning"] = "error"

    def __str__(self) -> str:
        return f"{self.where}: {self.message}: {self.remedy}"
