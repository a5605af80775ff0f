"""A campaign: on-the-fly fine-tuning of many compounds, one flow for each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from jobflow import Flow, Maker
from pymatgen.core import Composition, Molecule, Structure

from onfly.flows.finetune import OnTheFlyMaker
from onfly.flows.waves import WaveMaker, waves_run_id
from onfly.potentials.families import TRUST
from onfly.schemas.label import structure_hash
from onfly.spec import FoundationSpec, RunSpec
from onfly.spec.classes import ClassCampaignSpec
from onfly.spec.flat import gather, merge

__all__ = ["CampaignMaker", "with_spec"]

_HASH_DIGITS = 8
SHORTCUTS = (
    "foundation_model", "threshold", "temperature", "n_steps", "stages", "walkers",
    "initial_labels", "seed",
)  # fmt: skip


@dataclass
class CampaignMaker(Maker):
    """Fine-tune a model for each of many compounds.

    Parameters
    ----------
    name
        Name of the maker.
    campaign
        Name of the campaign, by which runs, models and labels are found.
    maker
        Of one compound.
    overrides
        What is different for some compounds, by formula or by run identifier: flat keys or groups
        of `RunSpec` that are merged into the settings of `maker`, such as
        ``{"NaCl": {"threshold": "20 meV", "posterior": {"n_members": 4}}}``; or all settings as a
        `RunSpec`; or another maker.
    class_model
        Name of a class that learns after every few compounds, and from which later ones start; a
        table of `ClassCampaignSpec` such as ``{"name": "perovskites", "every": 4}``. Compounds
        whose overrides name another foundation keep that one.

    Raises
    ------
    ValueError
        By `make`: a structure comes twice, an override fits no compound, or a setting is
        impossible.

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> metals = [Structure.from_spacegroup("Fm-3m", Lattice.cubic(a), [symbol], [[0, 0, 0]])
    ...           for symbol, a in (("Cu", 3.6), ("Ag", 4.1))]
    >>> maker = OnTheFlyMaker(threshold="2 meV", threshold_per_atom=True)
    >>> campaign = CampaignMaker(campaign="metals", maker=maker,
    ...                          overrides={"Ag": {"walkers": 4}})
    >>> len(campaign.make(metals))
    2
    >>> [campaign.maker_for(s).resolved_spec.trajectories.walkers for s in metals]
    [1, 4]
    """

    name: str = "campaign"
    campaign: str = "campaign"
    maker: OnTheFlyMaker = field(default_factory=OnTheFlyMaker)
    overrides: dict[str, Any] = field(default_factory=dict)
    class_model: ClassCampaignSpec | dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.class_model, Mapping):
            self.class_model = ClassCampaignSpec.model_validate(self.class_model)

    def make(  # type: ignore[override]  # a campaign is no single flow
        self, structures: Iterable[Structure | Molecule]
    ) -> list[Flow]:
        """Return one flow for each compound.

        The identifiers of the runs follow from campaign and structure, so that a campaign that is
        made again is the same campaign.

        Parameters
        ----------
        structures
            Where the MD of each compound starts.

        Returns
        -------
        list of Flow
            In the order of the structures; each is a workflow of its own. With `class_model` one
            flow, which starts the compounds wave after wave.

        Raises
        ------
        ValueError
            If a structure comes twice or is disordered, an override fits no compound, or a
            setting is impossible.
        """
        runs = self.runs(structures)
        if self.class_model is None:
            return [self.flow(structure) for structure in runs.values()]
        for structure in runs.values():  # what is impossible is said now, not in a later wave
            self.flow(structure)
        job = WaveMaker(campaign_maker=self).make(list(runs.values()))
        flow = Flow([job], output=job.output, name=f"{self.name} {self.campaign}")
        own = {"run_id": waves_run_id(self.campaign), "campaign": self.campaign}
        flow.update_metadata({"onfly": own}, dynamic=False)  # compounds have their own
        return [flow]

    def runs(self, structures: Iterable[Structure | Molecule]) -> dict[str, Structure | Molecule]:
        """Return the structures by the identifiers of their runs; errors as in `make`."""
        found: dict[str, Structure | Molecule] = {}
        for position, structure in enumerate(structures):
            if not isinstance(structure, Structure | Molecule):
                raise ValueError(
                    f"structure {position} is a {type(structure).__name__}: give pymatgen "
                    "Structures or Molecules (onfly.structures.from_atoms makes them of ASE atoms)"
                )
            if not structure.is_ordered:
                raise ValueError(
                    f"structure {position} ({structure.composition.reduced_formula}) has sites "
                    "with partial occupation: order it first"
                )
            run_id = self.run_id(structure)
            if run_id in found:
                first = list(found).index(run_id)
                raise ValueError(
                    f"structures {first} and {position} are the same "
                    f"({structure.composition.reduced_formula}): remove one of them"
                )
            found[run_id] = structure
        if not found:
            raise ValueError(f"campaign {self.campaign!r} has no structures")
        used = {key for s in found.values() for key in self.override_keys(s)}
        if unused := sorted(set(self.overrides) - used):
            formulas = sorted({s.composition.reduced_formula for s in found.values()})
            raise ValueError(
                f"overrides for {', '.join(unused)} fit no compound of the campaign; it has "
                f"{', '.join(formulas[:20])}{' …' if len(formulas) > 20 else ''}"
            )
        return found

    def flow(self, structure: Structure | Molecule, source: str | None = None) -> Flow:
        """Return the flow of one compound; for `source` see `maker_for`."""
        return self.maker_for(structure, source).make(structure, run_id=self.run_id(structure))

    def run_id(self, structure: Structure | Molecule) -> str:
        """Return the identifier of a compound's run: campaign, formula, hash of the structure."""
        # brackets and spaces of formulas and campaigns cannot be part of a folder's name
        text = f"{self.campaign}-{structure.composition.reduced_formula}"
        text = re.sub(r"[^A-Za-z0-9._+-]", "_", text)
        return f"{text}-{structure_hash(structure)[:_HASH_DIGITS]}"

    def maker_for(
        self, structure: Structure | Molecule, source: str | None = None
    ) -> OnTheFlyMaker:
        """Return the maker of one compound, with what is different for it.

        Parameters
        ----------
        structure
            Of the compound.
        source
            Class model that takes the place of the campaign's foundation; None keeps that.
        """
        maker = self.maker
        for key in self.override_keys(structure):
            change = self.overrides.get(key)
            if isinstance(change, OnTheFlyMaker):
                maker = change
            elif isinstance(change, RunSpec):
                maker = with_spec(maker, change)
            elif change is not None:
                maker = with_spec(maker, _merged(maker.resolved_spec, change, key))
        spec = maker.resolved_spec
        if source is not None and spec.foundation == self.maker.resolved_spec.foundation:
            options = {k: v for k, v in spec.foundation.options.items() if k == TRUST}
            learned = FoundationSpec(source=source, options=options)
            maker = with_spec(maker, spec.evolve(foundation=learned))
        return replace(maker, campaign=self.campaign)

    def override_keys(self, structure: Structure | Molecule) -> list[str]:
        """Return the keys of the overrides that fit a compound, the most special one last."""
        run_id = self.run_id(structure)
        formula = structure.composition.reduced_formula
        return [key for key in self.overrides if _formula(key) == formula] + [
            key for key in self.overrides if key == run_id
        ]


def _formula(text: str) -> str | None:
    try:
        return Composition(text).reduced_formula
    except ValueError:  # an identifier of a run
        return None


def with_spec(maker: OnTheFlyMaker, spec: RunSpec) -> OnTheFlyMaker:
    """Return a maker with other settings, its shortcuts taken back."""
    cleared: dict[str, Any] = dict.fromkeys(SHORTCUTS)
    return replace(maker, spec=spec, **cleared)


def _merged(spec: RunSpec, changes: Mapping[str, Any], key: str) -> RunSpec:
    if not isinstance(changes, Mapping):
        raise ValueError(
            f"overrides of {key}: {changes!r} is neither a mapping of settings, nor a RunSpec, nor "
            "a maker"
        )
    try:
        base = gather(spec.to_flat(defaults=True)).groups
        return RunSpec.model_validate(merge(base, gather(changes).groups))
    except ValueError as error:
        raise ValueError(f"overrides of {key}: {error}") from error
