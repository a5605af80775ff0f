"""Documents that say the sha256 of their own content, so that a change by hand or by a disk shows.

A number of a run's state that is changed by hand would be obeyed in one place and not in another,
since others were derived from it.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

__all__ = ["SealError", "sealed", "unsealed"]

_KEY = "sha256"


class SealError(ValueError):
    """A document whose content is not what was written."""


def sealed(content: dict[str, Any] | str, indent: int | None = None) -> bytes:
    """Return a document as JSON with the digest of its content.

    Parameters
    ----------
    content
        The document, or its JSON text.
    indent
        As for `json.dumps`.
    """
    plain = json.loads(content if isinstance(content, str) else json.dumps(content))
    return json.dumps(plain | {_KEY: _digest(plain)}, indent=indent).encode()


def unsealed(data: bytes) -> dict[str, Any]:
    """Return the content of a document; one of an earlier version, without a digest, as it is.

    Raises
    ------
    SealError
        If the content is another one, or no document.

    Examples
    --------
    >>> unsealed(sealed({"a": 1}))
    {'a': 1}
    >>> unsealed(sealed({"a": 1}).replace(b"1,", b"2,"))
    Traceback (most recent call last):
    onfly.artifacts.seal.SealError: it was changed after it was written, by hand or by a disk
    """
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise SealError(f"it is no JSON ({error})") from None
    if not isinstance(content, dict):
        raise SealError("it holds no document")
    digest = content.pop(_KEY, None)
    if digest is not None and digest != _digest(content):
        raise SealError("it was changed after it was written, by hand or by a disk")
    return content


def _digest(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
