"""Names of class models: ``class:perovskites@3``, and ``class:perovskites`` for the newest."""

from __future__ import annotations

from dataclasses import dataclass

from onfly.spec.classes import check_class_name

__all__ = ["PREFIX", "ClassModelError", "ClassName"]

PREFIX = "class:"


class ClassModelError(ValueError):
    """There is no such class model, or it cannot be made or loaded; the message says why."""


@dataclass(frozen=True)
class ClassName:
    """Name and version of a class model.

    Parameters
    ----------
    name
        Of the class.
    version
        From 1; None is the newest.

    Examples
    --------
    >>> ClassName.parse("class:perovskites@3")
    ClassName(name='perovskites', version=3)
    >>> str(ClassName("perovskites"))
    'class:perovskites'
    """

    name: str
    version: int | None = None

    @classmethod
    def parse(cls, text: str) -> ClassName:
        """Read a name, with or without the leading ``class:``.

        Raises
        ------
        ClassModelError
            If it is none.
        """
        name, at, version = text.removeprefix(PREFIX).partition("@")
        if at and not (version.isdecimal() and int(version) > 0):
            raise ClassModelError(
                f"{text!r}: the version is a number from 1, such as class:{name or 'NAME'}@3; "
                "without @ the newest one is taken"
            )
        try:
            return cls(check_class_name(name), int(version) if at else None)
        except ValueError as error:
            raise ClassModelError(f"{text!r}: {error}") from None

    @property
    def class_id(self) -> str:
        """Name and version, such as ``"perovskites@3"``."""
        return self.name if self.version is None else f"{self.name}@{self.version}"

    def __str__(self) -> str:
        return f"{PREFIX}{self.class_id}"
