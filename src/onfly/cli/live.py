"""A live view of a run that any process works on, read from the run's folder."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from onfly.artifacts.workspace import RunWorkspace
from onfly.jobs.progress import read_progress
from onfly.schemas import RunDoc

__all__ = ["RunView", "print_progress"]

_WORDS = {
    "initial": "labelling the initial structure",
    "label": "labelling",
    "calibrate": "calibrating",
    "update": "updating the ensemble",
    "segment": "molecular dynamics",
    "publish": "publishing",
    "done": "done",
    "stopped": "stopped",
}


class RunView:
    """Renderable that shows MD step, temperature, uncertainty, labels, audits and time left.

    Parameters
    ----------
    workspace
        Folder of the run; it need not exist yet.
    """

    def __init__(self, workspace: RunWorkspace) -> None:
        self.workspace = workspace
        self.start = time.monotonic()
        self._first_step: int | None = None
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=40),
            TextColumn("{task.completed}/{task.total} MD steps"),
        )
        self._task = self._bar.add_task("", total=1)

    def _run(self) -> RunDoc | None:
        try:
            return self.workspace.read_run()
        except (FileNotFoundError, ValueError):
            return None

    def _rest(self, step: int, total: int) -> str:
        """Estimate the time left from the pace so far: an upper bound, since labels get rarer."""
        if self._first_step is None:
            self._first_step = step
        done = step - self._first_step
        elapsed = time.monotonic() - self.start
        if done < 5:
            return "unknown yet"
        seconds = elapsed / done * (total - step)
        return f"at most {seconds / 60:.0f} min" if seconds > 90 else f"at most {seconds:.0f} s"

    def __rich__(self) -> RenderableType:
        """Return what is shown now."""
        run = self._run()
        if run is None:
            return "starting …"
        now = read_progress(Path(self.workspace.folder))
        step = max(int(now.get("md_step") or 0), run.md_step)
        total = run.n_steps_total
        phase = str(now.get("phase") or run.phase)
        self._bar.update(
            self._task, total=total, completed=step, description=_WORDS.get(phase, phase)
        )
        table = Table.grid(padding=(0, 2))
        rows = [("run", run.run_id), ("foundation model", run.foundation_model)]
        if (temperature := now.get("temperature")) is not None:
            rows.append(("temperature", f"{temperature:.0f} K"))
        if (std := now.get("energy_std")) is not None:
            rows.append(
                (
                    "uncertainty",
                    f"std {1000 * std:.1f} meV, threshold {1000 * run.threshold_ev:.1f} meV, "
                    f"P(error > threshold) = {now.get('probability') or 0.0:.3f}",
                )
            )
        labels = f"{run.n_labels} ({run.n_interventions} asked for by the criterion)"
        rows.append(("labels", labels))
        rows.append(("audits", f"{run.n_audits_within} of {run.n_audits} within the threshold"))
        if run.n_failures:
            rows.append(("failures", f"{run.n_failures}: {run.failures[-1]}"))
        rows.append(("time left", self._rest(step, total)))
        for name, value in rows:
            table.add_row(f"[dim]{name}[/dim]", value)
        return Group(self._bar, table)

    def line(self) -> str:
        """Return what is happening now, in one line, for output that is no terminal."""
        run = self._run()
        if run is None:
            return "starting"
        now = read_progress(Path(self.workspace.folder))
        phase = str(now.get("phase") or run.phase)
        step = max(int(now.get("md_step") or 0), run.md_step)
        std = now.get("energy_std")
        uncertainty = "" if std is None else f", std {1000 * std:.1f} meV"
        return (
            f"{time.monotonic() - self.start:6.0f} s  step {step}/{run.n_steps_total}, "
            f"{_WORDS.get(phase, phase)}{uncertainty}; {run.n_labels} labels, "
            f"{run.n_audits_within} of {run.n_audits} audits within the threshold"
        )


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
