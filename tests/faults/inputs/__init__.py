"""Bad inputs of our own, by group: what is typed, and what must come of it."""

from __future__ import annotations

from tests.faults.inputs.case import Case
from tests.faults.inputs.commands import COMMANDS
from tests.faults.inputs.environment import ENVIRONMENT
from tests.faults.inputs.foundations import FOUNDATIONS
from tests.faults.inputs.generated import GENERATED
from tests.faults.inputs.labellers import LABELLERS
from tests.faults.inputs.loops import LOOPS
from tests.faults.inputs.structures import STRUCTURES
from tests.faults.inputs.submitted import SUBMITTED
from tests.faults.inputs.texts import TEXTS

__all__ = ["FILES", "Case"]

# each ends the command before anything is written
FILES: tuple[Case, ...] = (
    *STRUCTURES,
    *TEXTS,
    *GENERATED,
    *FOUNDATIONS,
    *LABELLERS,
    *LOOPS,
    *SUBMITTED,
    *ENVIRONMENT,
    *COMMANDS,
)
