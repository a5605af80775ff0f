"""``onfly plan``: what a run or a campaign will cost, before anything is labelled."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from pymatgen.core import Molecule, Structure
from rich.console import Console
from rich.table import Table

from onfly.cli.errors import EXIT_CODES, fail
from onfly.cli.live import waits
from onfly.cli.records import duration
from onfly.flows.campaign import CampaignMaker
from onfly.flows.check import check_run
from onfly.flows.finetune import OnTheFlyMaker
from onfly.flows.structures import read_structures, structures_of
from onfly.rounds.plan import measure, plan_run
from onfly.spec import RunSpec
from onfly.spec.campaign import CampaignFile
from onfly.spec.files import RunFile
from onfly.spec.yaml import ConfigError, load, read_source

__all__ = ["plan", "register", "runs_of"]


def register(app: typer.Typer) -> None:
    """Mount the command."""
    app.command("plan", epilog=EXIT_CODES)(plan)


def plan(
    config: Annotated[Path, typer.Argument(help="YAML file of a run or a campaign.")],
    measured: Annotated[
        bool, typer.Option("--measure", help="Measure an update and an MD step on this machine.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """Show what a run or a campaign will cost in labels, waits and time; nothing is labelled."""
    try:
        runs = runs_of(config)
        problems = [f"{n}: {p}" for n, (spec, s) in runs.items() for p in check_run(spec, s)]
        if problems:
            raise fail("\n".join(f"{config}: {problem}" for problem in problems))
        records = [_record(n, spec, s, measured) for n, (spec, s) in runs.items()]
    except ConfigError as error:
        raise fail(error) from None
    except ValueError as error:
        raise fail(f"{config}: {error}") from None
    if as_json:
        typer.echo(json.dumps(records, indent=1))
        return
    console = Console()
    names = ["run", "initial labels", "audits (mean)", "proof: labels", "proof: waits", "MD steps"]
    table = Table(*names, *(["update", "MD step"] if measured else []))
    for r in records:
        row = [
            r["run"],
            str(r["initial_labels"]),
            f"{r['audits_expected']:.0f}",
            _range(r["proof_labels"]),
            _range(r["proof_waits"]),
            f"{r['md_steps']} + {r['closing_steps']}",
        ]
        if measured:
            row += [duration(r["update_seconds"]), f"{1000 * r['step_seconds']:.0f} ms"]
        table.add_row(*row)
    console.print(table)
    least = sum(r["labels_at_least"] for r in records)
    console.print(
        f"at least {least} labels in {waits(max(r['waits_at_least'] for r in records))}; what the "
        "criterion asks for, and audits before the proof, come on top",
        highlight=False,
        soft_wrap=True,
    )
    for r in records:
        if r["max_labels"] is not None and r["max_labels"] < r["labels_at_least"]:
            console.print(
                f"{r['run']}: max_labels {r['max_labels']} is less than the proof needs",
                highlight=False,
                soft_wrap=True,
            )


def _range(bounds: list[int] | tuple[int, int]) -> str:
    least, most = bounds
    return f"{least}" if least == most else f"{least} to {most}"


def _record(
    name: str, spec: RunSpec, structures: Sequence[Structure | Molecule], measured: bool
) -> dict[str, Any]:
    found = plan_run(spec, structures[0])
    record = {"run": name, **asdict(found)}
    record |= {"labels_at_least": found.labels_at_least, "waits_at_least": found.waits_at_least}
    if measured:
        record |= asdict(measure(spec, structures))
    return record


def runs_of(config: Path) -> dict[str, tuple[RunSpec, tuple[Structure | Molecule, ...]]]:
    """Return settings and structures of all runs that a file of a run or a campaign is for.

    Raises
    ------
    ConfigError
        If the file has an error.
    ValueError
        If a structure cannot be read.
    """
    if "campaign" not in read_source(config).data:
        file = load(config, RunFile)
        structures = structures_of(file)
        name = file.run_id or structures[0].composition.reduced_formula
        return {name: (file.spec, structures)}
    campaign = load(config, CampaignFile)
    maker = CampaignMaker(
        campaign=campaign.campaign,
        maker=OnTheFlyMaker(spec=campaign.spec, mode=campaign.mode),
        overrides=dict(campaign.overrides),
    )
    found = read_structures(campaign.structures, config.parent.resolve(), campaign.max_atoms)
    return {
        run_id: (maker.maker_for(structure).resolved_spec, (structure,))
        for run_id, structure in maker.runs(found).items()
    }
