"""The version of the form of documents, which each document says."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

__all__ = ["DOC_VERSION", "DocVersion", "check_version"]

DOC_VERSION = "0.2"


def check_version(version: str) -> str:
    """Refuse the documents of a later version, whose fields may mean something else.

    Raises
    ------
    ValueError
        If the version is a later one, or none at all.
    """
    try:
        later = _parts(version) > _parts(DOC_VERSION)
    except ValueError:
        raise ValueError(f"{version!r} is no version of a document") from None
    if later:
        raise ValueError(
            f"the document has the form of version {version}, and this onfly reads those up to "
            f"{DOC_VERSION}: install a later onfly"
        )
    return version


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


DocVersion = Annotated[str, AfterValidator(check_version)]
