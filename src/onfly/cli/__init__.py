"""The command ``onfly``."""

from __future__ import annotations

import os
import warnings

import typer

__all__ = ["app", "main"]

# One thread per process unless the user chose otherwise: chains are processes of their own, and
# torch with several threads on a shared node is many times slower than with one.
os.environ.setdefault("OMP_NUM_THREADS", "1")

app = typer.Typer(
    name="onfly",
    help="On-the-fly fine-tuning of foundation interatomic potentials.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _mount() -> None:
    from onfly.cli import demo, doctor, models, report, run, status, store, submit

    for module in (run, submit, status, demo, report):
        module.register(app)
    app.add_typer(models.app, name="models")
    app.add_typer(store.app, name="store")
    doctor.register(app)


def main() -> None:
    """Run the command."""
    # jobflow and ase announce changes of their own to people who cannot act on them
    warnings.filterwarnings("ignore", category=FutureWarning)
    _mount()
    app()
