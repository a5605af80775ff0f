"""Calculators that leave, or speak no UTF-8."""

from __future__ import annotations

import os
import sys

from ase.calculators.calculator import Calculator

__all__ = ["Leaves", "Speaks"]


class Leaves(Calculator):
    """Ends the process, as some codes do when they find no licence."""

    implemented_properties = ("energy", "forces")

    def calculate(self, *args, **kwargs):
        sys.exit(0)


class Speaks(Calculator):
    """Writes bytes that are no text, and fails with such a message."""

    implemented_properties = ("energy", "forces")

    def calculate(self, *args, **kwargs):
        os.write(1, b"\xff\xfe caf\xe9 \x00\n")
        os.write(2, b"\xff\xfe caf\xe9 \x00\n")
        raise RuntimeError(b"\xff caf\xe9".decode("latin1") + "\udcff")
