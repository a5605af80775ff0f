"""``onfly run`` and ``onfly resume``."""

from __future__ import annotations

import logging
import re
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer
from jobflow import Flow, run_locally
from pymatgen.core import Molecule, Structure
from rich.console import Console
from rich.live import Live

from onfly.artifacts.atomic import atomic_write
from onfly.artifacts.workspace import RunWorkspace
from onfly.cli.errors import fail
from onfly.cli.live import RunView, print_progress
from onfly.cli.yaml_file import ConfigError, load_config
from onfly.flows.config import RunConfig, read_structure
from onfly.library import ModelLibrary
from onfly.report import build_report, judge
from onfly.schemas import FineTunedModelDoc, RunDoc
from onfly.settings import get_settings
from onfly.stores import job_store

__all__ = ["register", "start"]

console = Console()


def register(app: typer.Typer) -> None:
    """Mount the commands."""
    app.command("run")(run)
    app.command("resume")(resume)


def run(
    config: Annotated[Path, typer.Argument(help="YAML file; see docs/configuration.md.")],
    run_id: Annotated[str | None, typer.Option(help="Name of the run; default: a new one.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No live view.")] = False,
) -> None:
    """Fine-tune a model for one compound, here and now."""
    try:
        settings = load_config(config, RunConfig)
        path = (config.parent / settings.structure).resolve()
        structure = read_structure(path, settings.periodic)
    except (ConfigError, ValueError) as error:
        raise fail(str(error)) from None
    name = run_id or settings.run_id
    try:
        maker = settings.maker()
        document = maker.new_run(structure, name)
    except ValueError as error:
        raise fail(f"{config}: {error}") from None
    workspace = RunWorkspace(get_settings().ARTIFACT_DIR, document.run_id)
    if workspace.exists():
        raise fail(
            f"run {document.run_id} exists: go on with `onfly resume {document.run_id}`, or choose "
            "another run_id"
        )
    resolved = settings.model_copy(update={"structure": path, "run_id": document.run_id})
    atomic_write(workspace.folder / "config.json", resolved.model_dump_json(indent=1).encode())
    flow = maker.make(structure, run_id=document.run_id)
    start(flow, workspace, quiet=quiet)


def resume(
    run_id: Annotated[str, typer.Argument(help="The run to go on with.")],
    quiet: Annotated[bool, typer.Option("--quiet", help="No live view.")] = False,
) -> None:
    """Go on with a run that was interrupted; no label, update or MD is done twice."""
    workspace = RunWorkspace(get_settings().ARTIFACT_DIR, run_id)
    path = workspace.folder / "config.json"
    if not path.is_file():
        raise fail(f"no run {run_id} with a configuration in {workspace.folder.parent}")
    config = RunConfig.model_validate_json(path.read_text())
    try:
        structure: Structure | Molecule = read_structure(config.structure, config.periodic)
    except ValueError as error:
        raise fail(str(error)) from None
    state = workspace.read_run() if workspace.exists() else None
    if state is not None and state.phase in ("done", "stopped"):
        _finish(workspace, None)
        return
    maker = config.maker()
    if config.mode == "chained" and state is not None and state.phase != "initial":
        flow = maker.resume(state, structure)
    else:
        flow = maker.make(structure, run_id=run_id)
    start(flow, workspace, quiet=quiet)


def start(flow: Flow, workspace: RunWorkspace, *, quiet: bool = False) -> None:
    """Run a flow here, show its progress, then library, report and summary."""
    store = job_store()
    folder = workspace.folder / "jobs"
    folder.mkdir(parents=True, exist_ok=True)
    _log_to(workspace.folder / "run.log")
    options: dict[str, Any] = {
        "store": store,
        "create_folders": True,
        "root_dir": folder,
        "log": False,
    }
    try:
        view = RunView(workspace)
        shown: AbstractContextManager[object] = nullcontext()
        if not quiet and console.is_terminal:
            shown = Live(get_renderable=view.__rich__, console=console, refresh_per_second=2)
        elif not quiet:
            shown = print_progress(view, console)
        with shown:
            # A label that fails in a chain is a failed job, and the run goes on without it: what
            # counts is whether the run came to its end.
            run_locally(flow, ensure_success=False, **options)
        if not workspace.exists() or workspace.read_run().phase not in ("done", "stopped"):
            raise RuntimeError(_first_error(workspace.folder / "run.log"))
    except KeyboardInterrupt:
        raise fail(
            f"interrupted; nothing is lost: go on with `onfly resume {workspace.run_id}`"
        ) from None
    except Exception as error:
        logging.getLogger(__name__).exception("the run failed")
        raise fail(
            f"{type(error).__name__}: {error}\nThe full story is in {workspace.folder}/run.log. "
            f"When the cause is mended, go on with `onfly resume {workspace.run_id}`."
        ) from None
    _finish(workspace, store)


def _first_error(log: Path) -> str:
    """Return the last exception that the log of a run shows."""
    lines = [
        line for line in log.read_text().splitlines() if re.match(r"[\w.]+(Error|Exception)", line)
    ]
    return lines[-1] if lines else "the run did not come to its end"


def _log_to(path: Path) -> None:
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    for name in ("onfly", "jobflow"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
        logger.propagate = False


def _finish(workspace: RunWorkspace, store: object) -> None:
    """Put the model into the library, write the report, and say what came out."""
    library = ModelLibrary.from_settings()
    if store is not None:
        library.refresh(store)  # type: ignore[arg-type]
    library.add_run(workspace)
    report = build_report(workspace.folder)
    state = workspace.read_run()
    model_path = workspace.folder / "model.json"
    model = (
        FineTunedModelDoc.model_validate_json(model_path.read_text())
        if model_path.is_file()
        else None
    )
    _summary(state, model, report)


def _summary(run: RunDoc, model: FineTunedModelDoc | None, report: Path) -> None:
    verdict = judge(run, model)
    console.rule(f"{run.run_id}: {verdict.headline}")
    for reason in verdict.reasons:
        console.print(f"  {reason}", highlight=False)
    if verdict.advice:
        console.print(f"  {verdict.advice}", highlight=False)
    console.print(
        f"\n  {run.md_step} MD steps, {run.n_labels} labels: 1 initial, {run.n_interventions} "
        f"asked for by the criterion, {run.n_audits} audits",
        highlight=False,
    )
    if model is not None and model.coverage is not None and model.coverage_interval is not None:
        low, high = model.coverage_interval
        console.print(
            f"  audited coverage: {run.n_audits_within} of {run.n_audits} within "
            f"{1000 * run.threshold_ev:.3g} meV = {model.coverage:.1%} "
            f"(95 % interval {low:.0%} to {high:.0%})",
            highlight=False,
        )
        audits = model.audits
        if audits.rmse is not None and audits.foundation_rmse is not None:
            console.print(
                f"  energy RMSE at audits {1000 * audits.rmse:.2f} meV; the foundation model's on "
                f"the same structures {1000 * audits.foundation_rmse:.1f} meV",
                highlight=False,
            )
    cpu = ", ".join(f"{kind} {seconds:.0f} s" for kind, seconds in run.cpu_seconds.items())
    console.print(f"  CPU: {cpu}", highlight=False)
    if run.model_id:
        console.print(f"  model:  {run.model_id}", highlight=False, soft_wrap=True)
    console.print(f"  report: {report}", highlight=False, soft_wrap=True)
