"""A live view of a run that any process works on, read from the run's folder."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from onfly.artifacts.workspace import RunWorkspace
from onfly.cli.records import activity, duration, md_steps
from onfly.rounds.progress import read_progress
from onfly.schemas import RunState

__all__ = ["RunView", "print_progress"]


def waits(number: int) -> str:
    """Return the number of rounds of labels that followed one another, in words."""
    return f"{number} wait" + ("" if number == 1 else "s")


class RunView:
    """Renderable that shows phase, MD, uncertainty, labels and what is waited for.

    Parameters
    ----------
    workspace
        Folder of the run; it need not exist yet.
    """

    def __init__(self, workspace: RunWorkspace) -> None:
        self.workspace = workspace
        self.start = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=40),
            TextColumn("{task.completed}/{task.total} MD steps"),
        )
        self._task = self._bar.add_task("", total=1)

    def _run(self) -> RunState | None:
        try:
            return self.workspace.read_state()
        except (FileNotFoundError, ValueError):
            return None

    def _now(self) -> dict[str, Any]:
        return read_progress(Path(self.workspace.folder))

    def __rich__(self) -> RenderableType:
        """Return what is shown now."""
        run = self._run()
        if run is None:
            return "starting …"
        now, plain = self._now(), run.model_dump(mode="json")
        self._bar.update(
            self._task,
            total=run.n_steps_total,
            completed=md_steps(plain, now),
            description=activity(plain, now),
        )
        table = Table.grid(padding=(0, 2))
        for name, value in self._rows(run, now):
            table.add_row(f"[dim]{name}[/dim]", value)
        return Group(self._bar, table)

    def _rows(self, run: RunState, now: dict[str, Any]) -> Iterator[tuple[str, str]]:
        p = run.posterior
        yield "run", f"{run.run_id}, round {p.round}"
        yield "foundation model", p.spec.foundation.source
        if len(run.trajectories) > 1:
            yield "trajectories", ", ".join(_where(t) for t in run.trajectories)
        if now.get("phase") == "explore" and (temperature := now.get("temperature")) is not None:
            yield "temperature", f"{temperature:.0f} K"
        if now.get("phase") == "explore" and (std := now.get("energy_std")) is not None:
            limit = "" if p.threshold_ev is None else f", tolerance {1000 * p.threshold_ev:.1f} meV"
            yield (
                "uncertainty",
                f"std {1000 * std:.1f} meV{limit}, "
                f"P(error > tolerance) = {now.get('probability') or 0.0:.3f}",
            )
        yield (
            "labels",
            f"{p.n_labels} in {waits(p.n_waits)} ({p.n_calls} asked for by the criterion)",
        )
        yield "audits", f"{p.n_audits_within} of {p.n_audits} within the tolerance"
        if run.phase == "label" and run.due:
            since = (datetime.now(UTC) - p.updated_at).total_seconds()
            names = ", ".join(request.key for request in run.due[:3])
            names += " …" if len(run.due) > 3 else ""
            yield "waits for", f"{names}, for {duration(max(since, 0.0))}"
        if run.n_failures:
            yield "failures", f"{run.n_failures}: {run.failures[-1]}"

    def line(self) -> str:
        """Return what is happening now, in one line, for output that is no terminal."""
        run = self._run()
        if run is None:
            return "starting"
        now, p = self._now(), run.posterior
        std = now.get("energy_std") if now.get("phase") == "explore" else None
        uncertainty = "" if std is None else f", std {1000 * std:.1f} meV"
        plain = run.model_dump(mode="json")
        return (
            f"{time.monotonic() - self.start:6.0f} s  step {md_steps(plain, now)}/"
            f"{run.n_steps_total}, {activity(plain, now)}{uncertainty}; {p.n_labels} labels in "
            f"{waits(p.n_waits)}, {p.n_audits_within} of {p.n_audits} audits within the tolerance"
        )


def _where(trajectory: Any) -> str:
    doing = "waits" if trajectory.called else "done" if trajectory.done else "moves"
    return f"{trajectory.index}: step {trajectory.md_step} {doing}"


@contextmanager
def print_progress(view: RunView, console: Console, interval: float = 15.0) -> Iterator[None]:
    """Print a line now and then while a block runs."""
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(interval):
            console.print(view.line(), highlight=False, soft_wrap=True)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
