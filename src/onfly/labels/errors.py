"""The exceptions of the labelling layer."""

from __future__ import annotations

import re

__all__ = [
    "DamagedLabelError",
    "LabelError",
    "MissingLabelError",
    "plain_text",
    "stops_the_run",
]

_LONGEST = 2000
# NUL and other control characters are refused by databases and garble terminals
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def plain_text(text: object, longest: int = _LONGEST) -> str:
    """Return text that any file, database and terminal takes, whatever a labeller printed.

    Bytes that are not UTF-8 and lone surrogates become ``?``, control characters vanish, and of a
    text that is too long the beginning and the end stay.
    """
    try:
        words = str(text)
    except Exception as error:  # foreign exceptions whose __str__ fails
        words = f"{type(text).__name__} without a message ({type(error).__name__})"
    words = _CONTROL.sub("", words.encode("utf-8", "replace").decode("utf-8"))
    if len(words) <= longest:
        return words
    half = (longest - 5) // 2
    return f"{words[:half]} ... {words[-half:]}"


def stops_the_run(error: BaseException) -> bool:
    """Whether an exception is the user's wish to stop, and no failure of a labeller.

    ``sys.exit`` in a labeller is a failure of this label; it must not end the run.
    """
    return isinstance(error, (KeyboardInterrupt, GeneratorExit))


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

    Examples
    --------
    >>> print(LabelError("the SCF did not converge", "/scratch/job_7", "look into its output"))
    the SCF did not converge; directory: /scratch/job_7; remedy: look into its output
    """

    def __init__(
        self, reason: str, directory: str | None = None, remedy: str | None = None
    ) -> None:
        reason = plain_text(reason)
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


class DamagedLabelError(LabelError):
    """A stored label whose content is not what was written; it is never used.

    Parameters
    ----------
    reason, directory, remedy
        As of `LabelError`.

    Examples
    --------
    >>> issubclass(DamagedLabelError, LabelError)
    True
    """


class MissingLabelError(LabelError):
    """A label that a store does not hold.

    Parameters
    ----------
    reason, directory, remedy
        As of `LabelError`.

    Examples
    --------
    >>> issubclass(MissingLabelError, LabelError)
    True
    """
