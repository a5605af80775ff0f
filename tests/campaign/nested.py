"""A labeller that starts job after job before it comes to the point."""

from __future__ import annotations

from dataclasses import dataclass, field

from jobflow import Flow, Maker, Response, job

from onfly.labels.ase import AseLabelMaker


@dataclass
class NestedLabelMaker(Maker):
    name: str = "nested label"
    depth: int = 3
    inner: AseLabelMaker = field(
        default_factory=lambda: AseLabelMaker(calculator="ase.calculators.emt.EMT")
    )

    @job
    def make(self, structure, prev_dir=None, depth=None):
        left = self.depth if depth is None else depth
        if left == 0:
            step = self.inner.make(structure)
        else:
            step = NestedLabelMaker(inner=self.inner).make(structure, depth=left - 1)
        return Response(replace=Flow([step], output=step.output))
