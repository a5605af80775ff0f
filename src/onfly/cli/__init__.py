"""The command ``onfly``."""

from __future__ import annotations

import os
import warnings

import typer

from onfly.cli.lazy import LazyCommand, lazy_group

__all__ = ["COMMANDS", "app", "main"]

# One thread per process unless the user chose otherwise: chains are processes of their own, and
# torch with several threads on a shared node is many times slower than with one.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The sentences are those of the commands' own docstrings; a test compares them.
COMMANDS = {
    "run": LazyCommand(
        "onfly.cli.run",
        "Fine-tune a model for one compound, here and now.",
        settings="onfly.spec.files:RunFile",
    ),
    "resume": LazyCommand(
        "onfly.cli.run",
        "Go on with a run that was interrupted; no label, update or MD is done twice.",
    ),
    "plan": LazyCommand(
        "onfly.cli.plan",
        "Show what a run or a campaign will cost in labels, waits and time; nothing is labelled.",
    ),
    "submit": LazyCommand(
        "onfly.cli.submit",
        "Submit one workflow for each compound; submitted again, only what is missing is added.",
        settings="onfly.spec.campaign:CampaignFile",
    ),
    "campaign": LazyCommand("onfly.cli.campaign", "Look after a campaign that workers run."),
    "status": LazyCommand(
        "onfly.cli.status",
        "Show how the runs stand: step, labels, audits, coverage, what failed and why.",
    ),
    "demo": LazyCommand(
        "onfly.cli.demo",
        "Fine-tune CHGNet for NaCl with a real electronic-structure method, in minutes.",
    ),
    "report": LazyCommand(
        "onfly.cli.report",
        "Write the report of a run, or of all runs of a campaign, as one HTML page.",
    ),
    "watch": LazyCommand(
        "onfly.cli.report",
        "Write the report again and again until the run ends; an open page follows by itself.",
    ),
    "models": LazyCommand("onfly.cli.models", "Find, compare and export fine-tuned models."),
    "class": LazyCommand(
        "onfly.cli.classes",
        "Learn the labels of many compounds together, as a foundation for the next ones.",
    ),
    "store": LazyCommand("onfly.cli.store", "Copy runs and libraries between stores."),
    "doctor": LazyCommand(
        "onfly.cli.doctor",
        "Check settings, stores, artifact directory, foundation models, labellers and VASP.",
    ),
}

app = typer.Typer(
    name="onfly",
    cls=lazy_group(COMMANDS),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback()
def _onfly() -> None:
    """On-the-fly fine-tuning of foundation interatomic potentials."""


def main() -> None:
    """Run the command."""
    # jobflow and ase announce changes of their own to people who cannot act on them
    warnings.filterwarnings("ignore", category=FutureWarning)
    app()
