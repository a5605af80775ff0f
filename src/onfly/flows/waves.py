"""A campaign that learns: some compounds, a class update, the next compounds from its model.

All compounds of a wave start from one version, and keep it. The update learns the labels of all
runs of this wave and of those before it, whether they came to their end or failed; a compound that
failed holds nobody up. What is in the folder of a run is never done again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from jobflow import Flow, Job, Maker, Response
from pymatgen.core import Molecule, Structure

from onfly.artifacts.workspace import RunWorkspace
from onfly.flows.order import diverse_order
from onfly.jobs.base import otf_job
from onfly.jobs.classes import ClassUpdateMaker
from onfly.jobs.routing import route_like_current
from onfly.settings import get_settings
from onfly.spec.classes import ClassCampaignSpec

if TYPE_CHECKING:
    from onfly.flows.campaign import CampaignMaker

__all__ = ["WaveMaker", "waves_of", "waves_run_id"]

logger = logging.getLogger(__name__)


def waves_of(spec: ClassCampaignSpec, runs: Mapping[str, Structure | Molecule]) -> list[list[str]]:
    """Return the identifiers of the runs that start together, wave after wave."""
    order = list(runs) if spec.order == "given" else diverse_order(runs)
    return [order[k : k + spec.every] for k in range(0, len(order), spec.every)]


def waves_run_id(campaign: str) -> str:
    """Return the name under which a manager knows the jobs that are of no compound."""
    return f"{campaign}-waves"


@dataclass
class WaveMaker(Maker):
    """Start a wave of a campaign, then the class update, then the next wave.

    Parameters
    ----------
    name
        Name of the jobs.
    campaign_maker
        The campaign, with its `class_model`.
    update_maker
        Of the class updates; name of the class and fit are those of the campaign.
    """

    name: str = "otf campaign wave"
    campaign_maker: CampaignMaker | None = None
    update_maker: ClassUpdateMaker = field(default_factory=ClassUpdateMaker)

    @otf_job(role="cpu", may_miss=True)
    def make(
        self,
        structures: list[Structure | Molecule],
        wave: int = 0,
        class_id: str | None = None,
        before: str | None = None,
    ) -> Response:
        """Return which runs start, and from what.

        Parameters
        ----------
        structures
            Of all compounds of the campaign.
        wave
            Number of the wave, from 0.
        class_id
            The version that the last update made; None if there was none, or it failed.
        before
            What the wave before started from.
        """
        campaign = self.campaign_maker
        spec = None if campaign is None else campaign.class_model
        if campaign is None or not isinstance(spec, ClassCampaignSpec):
            raise ValueError("a wave needs a campaign with class_model")
        source = before if class_id is None else f"class:{class_id}"
        runs = campaign.runs(structures)
        waves = waves_of(spec, runs)
        flows, refused = [], {}
        for run_id in waves[wave]:
            try:
                flow = self._flow(campaign, run_id, runs[run_id], source)
            except ValueError as error:
                logger.error("run %s does not start: %s", run_id, error)
                refused[run_id] = str(error)
                continue
            if flow is not None:
                flows.append(flow)
        done = sorted(run_id for part in waves[: wave + 1] for run_id in part)
        maker = replace(self.update_maker, class_name=spec.name, fit=spec.fit)
        # not the published models: of a run that failed there is none, and its job waits for ever
        update = maker.make(
            campaign=campaign.campaign,
            run_ids=done,
            after=[flow.jobs[0].output for flow in flows],
        )
        jobs: list[Job | Flow] = [*flows, update]
        if wave + 1 < len(waves):
            jobs.append(self.make(structures, wave + 1, update.output.class_id, source))
        for job in jobs[len(flows) :]:
            own = {"run_id": waves_run_id(campaign.campaign), "campaign": campaign.campaign}
            job.update_metadata({"onfly": own}, dynamic=False)  # compounds have their own
        route_like_current(jobs)
        output = {"wave": wave, "foundation": source, "runs": waves[wave], "refused": refused}
        return Response(output=output, addition=Flow(jobs, name=f"{self.name} {wave}"))

    @staticmethod
    def _flow(
        campaign: CampaignMaker,
        run_id: str,
        structure: Structure | Molecule,
        source: str | None,
    ) -> Flow | None:
        """Return the flow of a compound; None if it has ended."""
        workspace = RunWorkspace(get_settings().ARTIFACT_DIR, run_id)
        if not workspace.exists():
            return campaign.flow(structure, source)
        state = workspace.read_state()
        if state.phase in ("done", "stopped"):
            return None
        return campaign.maker_for(structure, source).resume(state, structure)
