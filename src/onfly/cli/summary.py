"""What is said of a run that has ended."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from onfly.artifacts.workspace import RunWorkspace
from onfly.cli.errors import verdict_code
from onfly.cli.live import waits
from onfly.proof import Verdict
from onfly.rounds.results import RESULTS
from onfly.rounds.verdict import verdict_of
from onfly.schemas import FineTunedModelDoc, RunState
from onfly.schemas.search import BarrierDoc, RelaxationDoc

__all__ = ["finish"]

logger = logging.getLogger(__name__)


def finish(workspace: RunWorkspace, store: object, console: Console) -> int:
    """Put the model into the library, write the report, and say what came out.

    A library or report that cannot be written is said, and does not change the outcome: the model
    is in the folder of the run.

    Returns
    -------
    int
        Exit code of the verdict.
    """
    _try(console, "the library was not updated", lambda: _to_library(workspace, store))
    report = _try(console, "the report was not written", lambda: _report(workspace))
    run = workspace.read_state()
    path = workspace.folder / "model.json"
    model = FineTunedModelDoc.model_validate_json(path.read_text()) if path.is_file() else None
    verdict = verdict_of(workspace, run)
    if verdict is None:
        raise ValueError(f"run {run.run_id} has not ended")
    _say(console, workspace, run, model, verdict, report)
    return verdict_code(verdict.state, proof_wanted=run.posterior.spec.proof.attempts > 0)


def _to_library(workspace: RunWorkspace, store: Any) -> None:
    from onfly.library import ModelLibrary

    library = ModelLibrary.from_settings()
    if store is not None:
        library.refresh(store)
    library.add_run(workspace)


def _report(workspace: RunWorkspace) -> Path:
    from onfly.report import build_report

    return build_report(workspace.folder)


def _try(console: Console, what: str, action: Callable[[], Any]) -> Any:
    try:
        return action()
    except Exception as error:  # whatever databases and drawing libraries raise
        logger.info(what, exc_info=True)
        console.print(f"{what}: {type(error).__name__}: {error}", highlight=False, markup=False)
        return None


def _found(workspace: RunWorkspace) -> Iterator[str]:
    """Yield what a relaxation or a path came to."""
    if (path := workspace.folder / RESULTS[RelaxationDoc]).is_file():
        for relaxed in RelaxationDoc.model_validate_json(path.read_text()).relaxed:
            energy, by = relaxed.energy, "by its label"
            if energy is None:
                energy, by = relaxed.predicted_energy, "by the model, without a label"
            force = "" if relaxed.largest_force is None else f", {relaxed.largest_force:.3f} eV/Å"
            yield f"relaxed in {relaxed.n_steps} steps to {energy:.4f} eV{force} ({by})"
    elif (path := workspace.folder / RESULTS[BarrierDoc]).is_file():
        barrier = BarrierDoc.model_validate_json(path.read_text())
        for name in ("forward", "backward"):
            value = getattr(barrier, name)
            labelled = "no label" if value.labelled is None else f"{value.labelled:.4f} eV"
            yield (
                f"barrier {name}: {labelled} by the labels, {value.predicted:.4f} ± "
                f"{value.interval:.4f} eV (95 %) by the model"
            )
    else:
        return
    yield f"document: {path}"


def _say(
    console: Console,
    workspace: RunWorkspace,
    run: RunState,
    model: FineTunedModelDoc | None,
    verdict: Verdict,
    report: Path | None,
) -> None:
    def say(text: str) -> None:
        console.print(f"  {text}", highlight=False, markup=False, soft_wrap=True)

    p = run.posterior
    console.rule(f"{run.run_id}: {verdict.state}")
    say(verdict.sentence)
    if p.stop_reason:
        say(f"The run ended: {p.stop_reason}.")
    for line in _found(workspace):
        say(line)
    console.print()
    say(
        f"{run.md_step} MD steps, {p.n_labels} labels in {waits(p.n_waits)}: {p.n_calls} asked for "
        f"by the criterion, {p.n_audits} audits"
    )
    if model is not None and model.coverage_interval is not None and p.threshold_ev is not None:
        low, high = model.coverage_interval
        say(
            f"audited coverage: {p.n_audits_within} of {p.n_audits} within "
            f"{1000 * p.threshold_ev:.3g} meV (95 % interval {low:.0%} to {high:.0%}), of all "
            "weights"
        )
        audits = model.audits
        if audits.rmse is not None and audits.foundation_rmse is not None:
            say(
                f"energy RMSE at audits {1000 * audits.rmse:.2f} meV; the foundation model's on "
                f"the same structures {1000 * audits.foundation_rmse:.1f} meV"
            )
    say("CPU: " + ", ".join(f"{kind} {s:.0f} s" for kind, s in run.cpu_seconds.items()))
    if p.model_id:
        say(f"model:  {p.model_id}")
    if report is not None:
        say(f"report: {report}")
