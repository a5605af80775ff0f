"""What a case is, and the good files from which most of them differ in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["BOX", "COPPER", "Case", "campaign", "settings"]

COPPER = """copper
1.0
3.61 0.0 0.0
0.0 3.61 0.0
0.0 0.0 3.61
Cu
4
Direct
0.0 0.0 0.0
0.5 0.5 0.01
0.5 0.0 0.5
0.0 0.5 0.5
"""
BOX = """3
Lattice="9 0 0 0 9 0 0 0 9" Properties=species:S:1:pos:R:3 pbc="T T T"
O 0 0 0.12
H 0 0.76 -0.47
H 0 -0.76 -0.47
"""
_RUN = {
    "structure": "POSCAR",
    "foundation_model": "toy",
    "labeller": "emt",
    "threshold": "100 meV",
    "stages": "[{n_steps: 40, temperature: 300}]",
}
_CAMPAIGN = {"campaign": "c", "structures": "[POSCAR]"} | {
    k: v for k, v in _RUN.items() if k != "structure"
}


@dataclass(frozen=True)
class Case:
    """A command that is to be refused.

    Parameters
    ----------
    name
        Of the case.
    says
        Regular expression that the message must contain.
    files
        Content of files in the working directory.
    words
        The command line; ``HOME`` stands for the working directory.
    code
        Exit code.
    makes
        Folders that may be made all the same: reading a library makes an empty store.
    environment
        Variables; ``HOME`` as above.
    """

    name: str
    says: str
    files: Mapping[str, str | bytes] = field(default_factory=dict)
    words: tuple[str, ...] = ("run", "run.yaml", "--quiet")
    code: int = 2
    makes: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


def settings(changes: Mapping[str, str | None], base: Mapping[str, str] = _RUN) -> str:
    """Return the file of a run with keys changed; None takes one away."""
    lines = {**base, **changes}
    return "".join(f"{key}: {value}\n" for key, value in lines.items() if value is not None)


def campaign(changes: Mapping[str, str | None]) -> str:
    """Return the file of a campaign with keys changed."""
    return settings(changes, _CAMPAIGN)
