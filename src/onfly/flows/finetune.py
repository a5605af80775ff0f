"""On-the-fly fine-tuning of one compound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

from ase import Atoms
from jobflow import Flow, Maker
from pymatgen.core import Molecule, Structure

from onfly.flows.check import check_run
from onfly.flows.resolving import resolve
from onfly.jobs.publish import PublishMaker
from onfly.jobs.resident import ResidentMaker
from onfly.jobs.rounds import RoundMaker
from onfly.labels.maker import maker_for_run
from onfly.labels.presets import label_maker
from onfly.labels.stress import check_stress
from onfly.labels.vasp import VaspLabelMaker
from onfly.rounds.new import new_run
from onfly.schemas import RunState
from onfly.spec import MDStage, RunSpec

__all__ = ["OnTheFlyMaker"]

_DEFAULT_SPEC: dict[str, Any] = {"threshold": 0.05, "stages": [{"n_steps": 1000}]}


@dataclass
class OnTheFlyMaker(Maker):
    """Fine-tune a foundation potential for one compound during MD.

    The first labels set the energy offset and teach the ensemble; then MD runs on its mean, and
    whenever the calibrated probability of an error above the tolerance exceeds 5 %, the
    configuration is labelled, the ensemble learns from it, and the step is taken with the label's
    forces [1]_. The output of the flow is a `FineTunedModelDoc`.

    Parameters
    ----------
    name
        Name of the flow.
    spec
        All settings of the run.
    foundation_model, threshold, threshold_per_atom, temperature, n_steps, stages, walkers, \
    initial_labels, seed
        Shortcuts: what is given here replaces the setting in `spec`. `threshold` is the largest
        energy error of the cell (or per atom), in eV or with its unit, such as ``"1 kcal/mol"``.
        `temperature` (K) and `n_steps` make one stage, `stages` several.
    mode
        ``"chained"``: each step is a job (labels on CPU nodes, ensemble on GPU nodes).
        ``"resident"``: one job does all, with the labeller in process. Both give the same numbers.
    label_maker
        Any atomate2 maker whose output has energy, forces and stress; None makes that of
        `spec.labels.labeller`, and VASP's without one.
    round_maker, publish_maker
        The jobs of the chain, and the one that publishes the model.
    campaign
        Name of the campaign that the run belongs to.

    Raises
    ------
    ValueError
        By `make` and `resolved_spec`: a setting is impossible, or does not fit the structure.

    References
    ----------
    .. [1] T. Rensmeyer, D. Kramer, O. Niggemann, Digital Discovery 2026, 10.1039/d5dd00392j.

    Examples
    --------
    >>> maker = OnTheFlyMaker(threshold="50 meV", temperature=300, n_steps=2000)
    >>> maker.resolved_spec.tolerance[0].value
    0.05

    A flow for a structure, with EMT in place of DFT and a potential that takes milliseconds:

    >>> from onfly import label_maker
    >>> from pymatgen.core import Lattice, Structure
    >>> copper = Structure.from_spacegroup("Fm-3m", Lattice.cubic(3.6), ["Cu"], [[0, 0, 0]])
    >>> maker = OnTheFlyMaker(foundation_model="toy", temperature=300, n_steps=100,
    ...                       label_maker=label_maker("emt"))
    >>> [job.name for job in maker.make(copper).jobs]
    ['otf round', 'otf publish']
    """

    name: str = "on-the-fly fine-tuning"
    spec: RunSpec | None = None
    foundation_model: str | None = None
    threshold: float | str | None = None
    threshold_per_atom: bool | None = None
    temperature: float | None = None
    n_steps: int | None = None
    stages: list[MDStage] | None = None
    walkers: int | None = None
    initial_labels: int | None = None
    seed: int | None = None
    mode: Literal["chained", "resident"] = "chained"
    label_maker: Maker | None = None
    round_maker: RoundMaker = field(default_factory=RoundMaker)
    publish_maker: PublishMaker = field(default_factory=PublishMaker)
    campaign: str | None = None

    _SHORTCUTS: ClassVar[tuple[str, ...]] = (
        "foundation_model", "threshold", "threshold_per_atom", "stages", "walkers",
        "initial_labels", "seed",
    )  # fmt: skip

    @property
    def resolved_spec(self) -> RunSpec:
        """The settings, with the shortcuts in them.

        Raises
        ------
        ValueError
            If a setting is impossible.
        """
        flat = dict(_DEFAULT_SPEC) if self.spec is None else self.spec.to_flat(defaults=True)
        given = {n: getattr(self, n) for n in self._SHORTCUTS if getattr(self, n) is not None}
        if self.stages is not None:
            given["stages"] = [
                s if isinstance(s, dict) else s.model_dump(mode="json") for s in self.stages
            ]
        if self.temperature is not None or self.n_steps is not None:
            if self.stages is not None:
                raise ValueError("give `stages`, or `temperature` and `n_steps`, not both")
            present = flat["stages"]
            if len(present) > 1:
                raise ValueError(
                    "`temperature` and `n_steps` make one stage, but the spec has "
                    f"{len(present)}: give `stages`"
                )
            stage = dict(present[0])
            stage |= {} if self.temperature is None else {"temperature": self.temperature}
            stage |= {} if self.n_steps is None else {"n_steps": self.n_steps}
            given["stages"] = [stage]
        if "threshold" in given:
            flat.pop("tolerance", None)
        return RunSpec.from_flat({**flat, **given})

    def make(
        self,
        structure: Structure | Molecule | Sequence[Structure | Molecule],
        prev_dir: str | Path | None = None,
        run_id: str | None = None,
    ) -> Flow:
        """Return the flow of one compound.

        Parameters
        ----------
        structure
            Where the MD starts; a list gives one start for each trajectory.
        prev_dir
            Directory that the first label may start from.
        run_id
            Identifier of the run; None makes a new one. The flow of a resident run that was
            interrupted goes on if it is made again with the same identifier.

        Returns
        -------
        Flow
            Its output is the `FineTunedModelDoc`.

        Raises
        ------
        ValueError
            If a setting is impossible, or something is known that would keep the run from its end:
            all of it, a line each. No model is loaded, and what only the machine that works on the
            run needs (programs, devices, earlier runs) is not asked for.
        """
        structures = _as_list(structure)
        if self.mode not in ("chained", "resident"):
            raise ValueError(f"mode {self.mode!r}: use 'chained' or 'resident'")
        spec = self.resolved_spec
        if len(structures) > 1 and spec.trajectories.walkers == 1:
            spec = spec.evolve(trajectories=spec.trajectories.evolve(walkers=len(structures)))
        labeller = self._asked_labeller(spec)
        if problems := check_run(spec, structures, maker=labeller, here=False):
            raise ValueError("\n".join(problems))
        spec = resolve(spec)
        state = new_run(spec, structures[0], run_id=run_id, campaign=self.campaign)
        return self._flow(state, structures, None if prev_dir is None else str(prev_dir))

    def resume(
        self,
        state: RunState,
        structure: Structure | Molecule | Sequence[Structure | Molecule],
    ) -> Flow:
        """Return the flow that takes up an interrupted run at its last written state.

        Labels, updates and MD that are done are not done again. The settings are those of the
        run; of the maker only the jobs and the labeller are used.
        """
        return self._flow(state, _as_list(structure), resumed=True)

    def _asked_labeller(self, spec: RunSpec) -> Maker:
        maker = self.label_maker
        if maker is None and spec.labels.labeller is not None:
            maker = label_maker(spec.labels.labeller.name, **spec.labels.labeller.kwargs)
        return maker or VaspLabelMaker()

    def _labeller(self, spec: RunSpec, structure: Structure | Molecule) -> Maker:
        maker, other = self._asked_labeller(spec), self.round_maker.label_maker
        if other is not None and other != maker:
            raise ValueError(
                "round_maker.label_maker and label_maker differ: give the labeller as label_maker"
            )
        return maker_for_run(maker, structure)

    def _flow(
        self,
        state: RunState,
        structures: list[Structure | Molecule],
        prev_dir: str | None = None,
        resumed: bool = False,
    ) -> Flow:
        labeller = self._labeller(state.posterior.spec, structures[0])
        spec = state.posterior.spec
        check_stress(labeller, spec.trajectories.stages, spec.tolerance)
        if self.mode == "resident":
            job = ResidentMaker(label_maker=labeller).make(state, structures, prev_dir)
        else:
            maker = replace(self.round_maker, label_maker=labeller)
            job = maker.make(state, structures=structures, prev_dir=prev_dir, resumed=resumed)
        publish_maker = self.publish_maker
        if spec.properties.labeller:  # not fixed to the cell of the run: properties have others
            publish_maker = replace(publish_maker, label_maker=self._asked_labeller(spec))
        publish = publish_maker.make(job.output, structures[0])
        name = f"{self.name} {state.posterior.formula_pretty}"
        flow = Flow([job, publish], output=publish.output, name=name)
        flow.update_metadata(
            {"onfly": {"run_id": state.run_id, "campaign": state.posterior.campaign}}
        )
        return flow


def _as_list(
    structure: Structure | Molecule | Sequence[Structure | Molecule],
) -> list[Structure | Molecule]:
    # a Structure is a sequence itself, of its sites; so are ASE's Atoms and the name of a file,
    # which the check refuses
    one = isinstance(structure, Structure | Molecule | Atoms | str)
    if one or not isinstance(structure, Sequence):
        return [cast("Structure", structure)]
    return list(cast("Sequence[Structure | Molecule]", structure))
