"""``onfly submit``: a campaign to a workflow manager, or here one compound after the other."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from jobflow import Flow, JobStore
from pymatgen.core import Molecule, Structure
from pymongo.errors import PyMongoError
from rich.console import Console

from onfly.artifacts.workspace import RunWorkspace
from onfly.cli.campaign import LEFT, no_answer
from onfly.cli.errors import EXIT_CODES, INTERNAL, fail
from onfly.cli.run import start
from onfly.cli.start_file import Start, write_start
from onfly.cli.waves import waves_here
from onfly.flows import launchpad as fireworks
from onfly.flows import remote
from onfly.flows.campaign import CampaignMaker
from onfly.flows.check import check_run
from onfly.flows.finetune import OnTheFlyMaker
from onfly.flows.manifest import CampaignManifest, Target
from onfly.flows.routing import route_jobs
from onfly.flows.structures import read_structures
from onfly.flows.waves import waves_run_id
from onfly.rounds.reopen import ReopenError, reopen
from onfly.schemas import RunState
from onfly.settings import OnflySettings, get_settings
from onfly.spec.campaign import CampaignFile
from onfly.spec.yaml import ConfigError, load
from onfly.stores import EmbeddedStore, job_store

__all__ = ["register"]

console = Console()


def register(app: typer.Typer) -> None:
    """Mount the command."""
    app.command("submit", epilog=EXIT_CODES)(submit)


@dataclass(frozen=True)
class _Campaign:
    """A campaign and the machine it is submitted from."""

    config: CampaignFile
    maker: CampaignMaker
    runs: dict[str, Structure | Molecule]
    settings: OnflySettings

    def workspace(self, run_id: str) -> RunWorkspace:
        return RunWorkspace(self.settings.ARTIFACT_DIR, run_id)

    def state(self, run_id: str) -> RunState | None:
        workspace = self.workspace(run_id)
        return workspace.read_state() if workspace.exists() else None

    def has_ended(self, run_id: str) -> bool:
        state = self.state(run_id)
        return state is not None and state.phase in ("done", "stopped")

    def flow(self, run_id: str, source: str | None = None) -> Flow:
        """Return the flow of a run: a new one, or that which takes up an interrupted run.

        A new one starts from `source`, if that is given; one that has begun keeps its own.
        """
        structure, state = self.runs[run_id], self.state(run_id)
        if state is not None and self.config.class_model is not None:
            source = state.posterior.spec.foundation.source
        maker = self.maker.maker_for(structure, source)
        if state is None:
            return maker.make(structure, run_id=run_id)
        return maker.resume(self._mended(run_id, state, maker), structure)

    def _mended(self, run_id: str, state: RunState, maker: OnTheFlyMaker) -> RunState:
        """Return the state of a run with the settings that the file has now."""
        spec = maker.resolved_spec
        if spec == state.posterior.spec:
            return state
        workspace = self.workspace(run_id)
        try:
            mended = reopen(state, spec, workspace.read_ledger(state.posterior.n_records))
        except ReopenError as error:
            raise ValueError(f"run {run_id}: {error}") from None
        if spec.labels != state.posterior.spec.labels:
            workspace.clear_answers(state.requests)
        with workspace.lock():
            workspace.write_state(mended)
        return mended

    def flows(self, run_ids: Iterable[str]) -> Iterator[tuple[str, Flow]]:
        """Yield what a workflow manager gets: a flow for each run, or one of all the waves."""
        if self.config.class_model is None:
            for run_id in run_ids:
                yield run_id, self.flow(run_id)
        elif list(run_ids):
            (flow,) = self.maker.make(self.runs.values())
            yield waves_run_id(self.config.campaign), flow

    def submitted(self, names: Iterable[str], run_ids: Iterable[str]) -> Iterator[str]:
        """Yield the runs that are in, from the names that the manager took."""
        for name in names:
            if self.config.class_model is None:
                yield name
            else:
                yield from run_ids

    def write_start(self, run_id: str) -> None:
        """Write what `onfly resume` needs into the folder of the run."""
        structure = self.runs[run_id]
        mode = self.maker.maker_for(structure).mode
        write_start(self.workspace(run_id), Start((structure,), mode))

    def problems(self, here: bool) -> list[str]:
        """Return what is wrong with the runs, each sentence once with the runs it is true of."""
        found: dict[str, list[str]] = {}
        for run_id, structure in self.runs.items():
            spec = self.maker.maker_for(structure).resolved_spec
            for problem in check_run(spec, [structure], here=here):
                found.setdefault(problem, []).append(run_id)
        return [f"{', '.join(runs[:5])}{' …' if len(runs) > 5 else ''}: {problem}"
                for problem, runs in found.items()]  # fmt: skip


def submit(
    config: Annotated[Path, typer.Argument(help="YAML file; see docs/configuration.md.")],
    to: Annotated[str, typer.Option(help="fireworks, remote (jobflow-remote) or local.")],
    launchpad: Annotated[
        Path | None, typer.Option(help="my_launchpad.yaml; default: that of FireWorks.")
    ] = None,
    project: Annotated[str | None, typer.Option(help="Project of jobflow-remote.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No live view of local runs.")] = False,
) -> None:
    """Submit one workflow for each compound; submitted again, only what is missing is added."""
    if to not in ("fireworks", "remote", "local"):
        raise fail(f"--to {to}: use fireworks, remote or local")
    begin = time.monotonic()
    try:
        settings = load(config, CampaignFile)
        structures = read_structures(
            settings.structures, config.parent.resolve(), settings.max_atoms
        )
        maker = CampaignMaker(
            campaign=settings.campaign,
            maker=OnTheFlyMaker(spec=settings.spec, mode=settings.mode),
            overrides=dict(settings.overrides),
            class_model=settings.class_model,
        )
        campaign = _Campaign(settings, maker, maker.runs(structures), get_settings())
        if problems := campaign.problems(here=to == "local"):
            raise fail("\n".join(f"{config}: {problem}" for problem in problems))
        place = _place(to, campaign, launchpad, project)
        missing = _missing(campaign, place)
    except ConfigError as error:
        raise fail(str(error)) from None
    except (ValueError, ModuleNotFoundError, FileNotFoundError) as error:
        raise fail(f"{config}: {error}") from None
    except PyMongoError as error:
        raise fail(no_answer(error), LEFT) from None
    if dry_run:
        for run_id in missing:
            console.print(f"would submit {run_id}", highlight=False, soft_wrap=True)
        return
    _manifest(campaign, to, launchpad, place.project).write(campaign.settings.ARTIFACT_DIR)
    for run_id in missing:
        campaign.write_start(run_id)
    try:
        count = sum(1 for _ in place.submit(missing, quiet))
    except ValueError as error:
        raise fail(f"{config}: {error}") from None
    except PyMongoError as error:  # what is in, stays in
        raise fail(no_answer(error), LEFT) from None
    console.print(
        f"{count} of {len(campaign.runs)} compounds of campaign {settings.campaign} submitted in "
        f"{time.monotonic() - begin:.1f} s; see `onfly status --campaign {settings.campaign}`",
        highlight=False,
        soft_wrap=True,
    )


def _missing(campaign: _Campaign, place: _Place) -> list[str]:
    """Return the runs that no manager has and that have not ended, and say why others are not."""
    known, published = place.states(), _published(campaign)
    if (waves := known.get(waves_run_id(campaign.config.campaign))) is not None:
        # one workflow starts them all, some of them later
        known = dict.fromkeys(campaign.runs, waves) | known
    missing, waiting, failed, ended = [], 0, 0, 0
    for run_id in campaign.runs:
        if run_id in published or campaign.has_ended(run_id):
            ended += 1
        elif known.get(run_id) in ("FIZZLED", "FAILED"):
            failed += 1
        elif run_id in known:
            waiting += 1
        else:
            missing.append(run_id)
    for number, text in (
        (ended, "have ended"),
        (waiting, "are submitted already"),
        (failed, f"have failed: mend the cause, then {place.rerun}"),
    ):
        if number:
            console.print(f"{number} compounds {text}", highlight=False, soft_wrap=True)
    return missing


def _published(campaign: _Campaign) -> set[str]:
    from onfly.library import ModelLibrary

    library = ModelLibrary.from_settings(campaign.settings)
    records = library.records(properties=["run_id"], campaign=campaign.config.campaign)
    return {record["run_id"] for record in records}


def _manifest(
    campaign: _Campaign, to: str, launchpad: Path | None, project: str | None
) -> CampaignManifest:
    target = cast("Target", to)
    return CampaignManifest(
        campaign=campaign.config.campaign,
        target=target,
        launchpad=None if launchpad is None else str(launchpad.resolve()),
        project=project,
        compounds={k: s.composition.reduced_formula for k, s in campaign.runs.items()},
    )


class _Place:
    """Here: one compound after the other."""

    rerun = "`onfly submit` again"
    project: str | None = None  # of jobflow-remote

    def __init__(self, campaign: _Campaign) -> None:
        self.campaign = campaign

    def states(self) -> dict[str, str]:
        """Return the states of what is submitted, by run identifier."""
        return {}

    def submit(self, run_ids: Iterable[str], quiet: bool) -> Iterator[str]:
        """Submit runs and yield those that are in; here, those that have ended well."""
        if self.campaign.config.class_model is not None:
            run = partial(self._run, quiet=quiet)
            yield from waves_here(self.campaign.maker, self.campaign.runs, set(run_ids), run)
            return
        for run_id in run_ids:
            if self._run(run_id, None, quiet=quiet):
                yield run_id

    def _run(self, run_id: str, source: str | None, *, quiet: bool) -> bool:
        """Run a compound to its end, and say whether it got there."""
        try:
            flow = self.campaign.flow(run_id, source)
            return start(flow, self.campaign.workspace(run_id), quiet=quiet) != INTERNAL
        except typer.Exit:  # its message is out; one compound must not end the campaign
            return False


class _FireWorks(_Place):
    rerun = "`lpad rerun_fws -i` what `onfly status` names"

    def __init__(self, campaign: _Campaign, file: Path | None) -> None:
        super().__init__(campaign)
        from fireworks import LaunchPad

        if file is not None and not file.is_file():
            raise FileNotFoundError(f"there is no LaunchPad file {file}")
        self.launchpad = LaunchPad.auto_load() if file is None else LaunchPad.from_file(str(file))
        self.store = _workers_store(campaign.settings)

    def states(self) -> dict[str, str]:
        return fireworks.workflow_states(self.launchpad, self.campaign.config.campaign)

    def submit(self, run_ids: Iterable[str], quiet: bool) -> Iterator[str]:
        workers = self.campaign.config.workers
        run_ids = list(run_ids)
        flows = (
            (name, _routed(flow, workers.gpu, workers.cpu, "fireworks"))
            for name, flow in self.campaign.flows(run_ids)
        )
        name = self.campaign.config.campaign
        names = fireworks.add_flows(self.launchpad, flows, name, self.store)
        yield from self.campaign.submitted(names, run_ids)


class _Remote(_Place):
    rerun = "`jf job rerun`"

    def __init__(self, campaign: _Campaign, project: str | None) -> None:
        super().__init__(campaign)
        self.project, names = remote.project_and_workers(project)
        workers = campaign.config.workers
        if not names:
            raise ValueError("the project of jobflow-remote has no workers")
        only = {"worker": names[0]} if len(names) == 1 else None
        self.gpu = workers.gpu or only or {"worker": "gpu"}
        self.cpu = workers.cpu or only or {"worker": "cpu"}
        for kind, keys in (("gpu", self.gpu), ("cpu", self.cpu)):
            if keys.get("worker") not in names:
                raise ValueError(
                    f"workers.{kind}: the project has no worker {keys.get('worker')!r}; it has "
                    f"{', '.join(names)}"
                )

    def states(self) -> dict[str, str]:
        return remote.flow_states(self.project, self.campaign.config.campaign)

    def submit(self, run_ids: Iterable[str], quiet: bool) -> Iterator[str]:
        run_ids = list(run_ids)
        flows = (
            (name, _routed(flow, self.gpu, self.cpu, "remote"))
            for name, flow in self.campaign.flows(run_ids)
        )
        names = remote.add_flows(flows, self.project, self.cpu["worker"])
        yield from self.campaign.submitted(names, run_ids)


def _place(to: str, campaign: _Campaign, launchpad: Path | None, project: str | None) -> _Place:
    if to == "fireworks":
        return _FireWorks(campaign, launchpad)
    return _Remote(campaign, project) if to == "remote" else _Place(campaign)


def _routed(flow: Flow, gpu: Any, cpu: Any, manager: Any) -> Flow:
    route_jobs(flow, gpu=gpu, cpu=cpu, manager=manager)
    return flow


def _workers_store(settings: OnflySettings) -> JobStore | None:
    """Return the store to write into the jobs; None if the workers' jobflow configuration has it.

    Raises
    ------
    ValueError
        If there is only the embedded store, which workers on other machines do not see.
    """
    store = job_store(settings)
    if isinstance(store.docs_store, EmbeddedStore):
        raise ValueError(
            "workers need a database for their outputs: set JOB_STORE in ~/.jobflow.yaml (see "
            "workflows/jobflow.yaml) here and on all workers"
        )
    # a store written into the jobs lies in the LaunchPad with its password: only if asked for
    return store if settings.JOB_STORE is not None else None
