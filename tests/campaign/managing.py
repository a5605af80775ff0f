"""The least that a workflow manager does: jobs are written, read and run one after the other."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from jobflow import Flow, Job
from monty.json import MontyDecoder, MontyEncoder


@dataclass
class Ran:
    """A job that was run: its depth is how many jobs started each other before it."""

    name: str
    depth: int
    manager_config: dict[str, Any]
    passes_on: bool


@dataclass
class Manager:
    """Run flows; keeps what it ran, and what it has still to run."""

    store: Any
    ran: list[Ran] = field(default_factory=list)
    queue: list[tuple[Job, int]] = field(default_factory=list)

    def submit(self, flow: Flow | Job, depth: int = 0, first: bool = False) -> None:
        jobs = [job for job, _ in flow.iterflow()] if isinstance(flow, Flow) else [flow]
        entries = [(_through_json(job), depth) for job in jobs]
        self.queue = entries + self.queue if first else self.queue + entries

    def step(self) -> Job:
        """Run the next job and return it."""
        job, depth = self.queue.pop(0)
        config = dict(job.config.manager_config)
        self.ran.append(Ran(job.name, depth, config, job.config.pass_manager_config))
        response = job.run(self.store)
        for flow, first in ((response.replace, True), (response.addition, False)):
            if flow is not None:
                self.submit(flow, depth + 1, first)
        return job

    def run(self, until: str | None = None) -> None:
        """Run all jobs, or those before the first one of a name."""
        while self.queue and not (until and self.queue[0][0].name.startswith(until)):
            self.step()


def _through_json(job: Job) -> Job:
    return json.loads(json.dumps(job, cls=MontyEncoder), cls=MontyDecoder)
