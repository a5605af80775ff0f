"""``onfly run`` and ``onfly resume``."""

from __future__ import annotations

import logging
import re
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer
from jobflow import Flow, run_locally
from rich.console import Console
from rich.live import Live
from rich.markup import escape

from onfly.artifacts.files import ArtifactError
from onfly.artifacts.workspace import RunWorkspace
from onfly.cli.errors import EXIT_CODES, INTERNAL, INTERRUPTED, STOPPED, fail
from onfly.cli.live import RunView, print_progress
from onfly.cli.start_file import Start, read_start, write_start
from onfly.cli.summary import finish
from onfly.flows.check import check_run
from onfly.flows.finetune import OnTheFlyMaker
from onfly.flows.resolving import keep_resolved, resolve
from onfly.flows.structures import structures_of
from onfly.rounds.new import new_run
from onfly.rounds.reopen import ENDED, Change, ReopenError, changes, reopen
from onfly.schemas import RunState, structure_hash
from onfly.settings import get_settings
from onfly.spec.files import RunFile
from onfly.spec.yaml import ConfigError, load
from onfly.stores import job_store

__all__ = ["register", "start"]

console = Console()


def register(app: typer.Typer) -> None:
    """Mount the commands."""
    app.command("run", epilog=EXIT_CODES)(run)
    app.command("resume", epilog=EXIT_CODES)(resume)


def run(
    config: Annotated[Path, typer.Argument(help="YAML file; see docs/configuration.md.")],
    run_id: Annotated[str | None, typer.Option(help="Name of the run; default: a new one.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No live view.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only check the file.")] = False,
) -> None:
    """Fine-tune a model for one compound, here and now."""
    try:
        file = load(config, RunFile)
        structures = structures_of(file)
        if problems := check_run(file.spec, structures):
            raise fail("\n".join(f"{config}: {problem}" for problem in problems))
        spec = file.spec if dry_run else resolve(file.spec)
        state = new_run(spec, structures[0], run_id=file.run_id if run_id is None else run_id)
        workspace = RunWorkspace(get_settings().ARTIFACT_DIR, state.run_id)
    except ConfigError as error:
        raise fail(error) from None
    except ValueError as error:
        raise fail(f"{config}: {error}") from None
    if workspace.exists():
        raise fail(
            f"run {state.run_id} exists: go on with `onfly resume {state.run_id}`, or choose "
            "another run_id"
        )
    if dry_run:
        console.print(f"{config} is good; nothing was done", highlight=False, soft_wrap=True)
        return
    beginning = Start(structures, file.mode)
    write_start(workspace, beginning)
    workspace.write_state(state)
    raise typer.Exit(start(flow_of(state, beginning), workspace, quiet=quiet))


def resume(
    run_id: Annotated[str, typer.Argument(help="The run to go on with.")],
    config: Annotated[
        Path | None, typer.Option(help="YAML file with other settings; what differs is shown.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No live view.")] = False,
) -> None:
    """Go on with a run that was interrupted; no label, update or MD is done twice."""
    try:
        workspace = RunWorkspace(get_settings().ARTIFACT_DIR, run_id)
        beginning = read_start(workspace)
        with workspace.lock():
            state = workspace.read_state()
            if config is not None:
                state, beginning = _changed(workspace, state, beginning, config)
            elif state.phase in ENDED and state.phase != "publish":
                try:
                    state = reopen(state, state.posterior.spec, _ledger(workspace, state))
                except ReopenError as error:
                    console.print(
                        f"nothing to go on with: {error}", highlight=False, soft_wrap=True
                    )
                    raise typer.Exit(finish(workspace, None, console)) from None
                workspace.write_state(state)
    except (ConfigError, ArtifactError, FileNotFoundError, ValueError) as error:
        raise fail(error) from None
    raise typer.Exit(start(flow_of(state, beginning), workspace, quiet=quiet))


def flow_of(state: RunState, beginning: Start) -> Flow:
    """Return the flow that begins a run or takes it up."""
    maker = OnTheFlyMaker(spec=state.posterior.spec, mode=beginning.mode)
    return maker.resume(state, list(beginning.structures))


def _ledger(workspace: RunWorkspace, state: RunState) -> Any:
    return workspace.read_ledger(state.posterior.n_records)


def _changed(
    workspace: RunWorkspace, state: RunState, beginning: Start, config: Path
) -> tuple[RunState, Start]:
    """Take up other settings, or end the command with what is wrong with them."""
    file = load(config, RunFile)
    if all(path.is_file() for path in file.structure_files):
        hashes = [structure_hash(structure) for structure in structures_of(file)]
        if hashes != [structure_hash(structure) for structure in beginning.structures]:
            raise fail(
                f"{config}: structure: the run began from another one; start a new run, with "
                f"`seed_from: [{state.run_id}]` if the atoms are the same"
            )
    ledger = _ledger(workspace, state)
    spec = resolve(keep_resolved(file.spec, state.posterior.spec))
    found = changes(state, spec, ledger)
    for change in found:
        console.print(_line(change), highlight=False, soft_wrap=True)
    if not found:
        console.print("no setting differs", highlight=False)
    refused = [change for change in found if change.refused]
    if refused:
        raise fail(f"{len(refused)} of these settings cannot change; nothing was done")
    if problems := check_run(spec, list(beginning.structures)):
        raise fail("\n".join(f"{config}: {problem}" for problem in problems))
    state = reopen(state, spec, ledger)
    if any(change.path.startswith("labels.") for change in found):
        workspace.clear_answers(state.requests)
    beginning = Start(beginning.structures, file.mode)
    write_start(workspace, beginning)
    workspace.write_state(state)
    return state, beginning


def _line(change: Change) -> str:
    text = f"  {escape(change.path)}: {escape(str(change.old))} -> {escape(str(change.new))}"
    return text + (f"  [red]refused[/red]: {escape(change.refused)}" if change.refused else "")


def start(flow: Flow, workspace: RunWorkspace, *, quiet: bool = False) -> int:
    """Run a flow here, show its progress, then library, report and summary.

    Returns
    -------
    int
        Exit code of the verdict.

    Raises
    ------
    typer.Exit
        If the run was interrupted, or did not come to its end.
    """
    store = job_store()
    folder = workspace.folder / "jobs"
    folder.mkdir(parents=True, exist_ok=True)
    log = workspace.folder / "run.log"
    handler = _log_to(log)
    written = log.stat().st_size
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
            run_locally(
                flow,
                store=store,
                create_folders=True,
                root_dir=folder,
                log=False,
                ensure_success=False,
            )
    except KeyboardInterrupt:
        message = f"interrupted; nothing is lost: go on with `onfly resume {workspace.run_id}`"
        raise fail(message, INTERRUPTED) from None
    except Exception as error:
        logging.getLogger(__name__).exception("the run failed")
        raise _failed(workspace, f"{type(error).__name__}: {error}") from None
    else:
        if workspace.read_state().phase not in ("done", "stopped"):
            raise _failed(workspace, _last_error(log, written))
        return finish(workspace, store, console)
    finally:
        for name in ("onfly", "jobflow"):
            logging.getLogger(name).removeHandler(handler)
        handler.close()


def _failed(workspace: RunWorkspace, error: str) -> typer.Exit:
    # a labeller that fails, or a full disk, is no fault of the command: the run stopped
    code = STOPPED if "LabelError" in error or "DiskFullError" in error else INTERNAL
    return fail(
        f"{error}\nThe full story is in {workspace.folder}/run.log. When the cause is mended, go "
        f"on with `onfly resume {workspace.run_id}`, and with `--config FILE` if it was a setting.",
        code,
    )


def _last_error(log: Path, start: int) -> str:
    """Return the last exception that the log of a run shows behind a position."""
    text = log.read_bytes()[start:].decode(errors="replace")
    lines = [line for line in text.splitlines() if re.match(r"[\w.]+(Error|Exception)\b", line)]
    return lines[-1] if lines else "the run did not come to its end"


def _log_to(path: Path) -> logging.Handler:
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    for name in ("onfly", "jobflow"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
        logger.propagate = False
    return handler
