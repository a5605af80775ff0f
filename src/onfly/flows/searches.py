"""Relaxations and barriers on the fly: the loop of `OnTheFlyMaker` with another driver."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from jobflow import Flow, Maker, OutputReference, Response, job
from pymatgen.core import Molecule, Structure

from onfly.dynamics.neb import interpolated
from onfly.flows.finetune import OnTheFlyMaker
from onfly.jobs.publish import PublishMaker
from onfly.jobs.rounds import RoundMaker
from onfly.jobs.searches import BarrierResultMaker, RelaxationResultMaker
from onfly.schemas import to_atoms, to_structure
from onfly.spec import MDStage, RunSpec

__all__ = ["OnTheFlyNebMaker", "OnTheFlyRelaxMaker"]

_Structure = Structure | Molecule


@dataclass
class _SearchMaker(Maker):
    """Fields and jobs that relaxations and paths share."""

    name: str = "on-the-fly search"
    spec: RunSpec | None = None
    foundation_model: str | None = None
    threshold: float | str | None = None
    threshold_per_atom: bool | None = None
    fmax: float | str | None = None
    n_steps: int | None = None
    optimizer: Literal["bfgs", "lbfgs", "fire"] | None = None
    decisions: int | None = None
    calls: bool | None = None
    seed: int | None = None
    mode: Literal["chained", "resident"] = "chained"
    label_maker: Maker | None = None
    round_maker: RoundMaker = field(default_factory=RoundMaker)
    publish_maker: PublishMaker = field(default_factory=PublishMaker)
    campaign: str | None = None

    _DRIVER: ClassVar[str] = ""
    _FIELDS: ClassVar[tuple[str, ...]] = ()

    def _stage(self) -> MDStage:
        """Return the stage of the spec, with the fields of the maker in it."""
        given: dict[str, Any] = {"driver": self._DRIVER, "n_steps": 200}
        if self.spec is not None:
            (*others, stage) = self.spec.trajectories.stages
            if others or stage.driver != self._DRIVER:
                raise ValueError(
                    f"the spec of {type(self).__name__} has one stage with `driver: {self._DRIVER}`"
                )
            given = stage.model_dump()
        names = ("fmax", "n_steps", "optimizer", "decisions", "calls", *self._FIELDS)
        return MDStage(**given | {n: v for n in names if (v := getattr(self, n)) is not None})

    def _maker(self, walkers: int) -> OnTheFlyMaker:
        shortcuts = ("foundation_model", "threshold", "threshold_per_atom", "seed")
        return OnTheFlyMaker(
            name=self.name,
            spec=self.spec,
            stages=[self._stage()],
            walkers=walkers,
            mode=self.mode,
            label_maker=self.label_maker,
            round_maker=self.round_maker,
            publish_maker=self.publish_maker,
            campaign=self.campaign,
            **{n: getattr(self, n) for n in shortcuts},
        )

    def _flow(
        self,
        structures: list[_Structure],
        result: Maker,
        prev_dir: str | Path | None,
        run_id: str | None,
    ) -> Flow:
        loop = self._maker(len(structures)).make(structures, prev_dir, run_id)
        run, publish = loop.jobs
        end = result.make(run.output, publish.output.model_id)  # type: ignore[attr-defined]
        end.metadata = {**end.metadata, "onfly": publish.metadata.get("onfly")}
        return Flow([loop, end], output=end.output, name=loop.name)


@dataclass
class OnTheFlyRelaxMaker(_SearchMaker):
    """Relax structures on the ensemble until the labeller agrees with the end.

    The foundation learns from labels of the first structure and of where the criterion fires. When
    the largest force is small, the configuration is labelled. If the label keeps the tolerances and
    its own largest force is at most `fmax`, the relaxation is *ready*; otherwise it is learned, and
    the relaxation goes on with its forces. The output is a `RelaxationDoc`.

    Parameters
    ----------
    name
        Name of the flow.
    spec
        All settings of the run; its one stage has ``driver: relax``.
    foundation_model, threshold, threshold_per_atom, seed
        As of `OnTheFlyMaker`; `threshold` in eV or with its unit.
    fmax
        Largest force at the end, in eV/Å or with its unit; None is 0.02 eV/Å.
    n_steps
        Most steps between two labels that decide; None is 200.
    optimizer
        Of ASE; None is BFGS.
    cell
        Whether the cell is relaxed as well; None is False.
    pressure
        kbar, with `cell`.
    decisions
        Labels of one structure that may decide before the run gives up; None is 10.
    calls
        Whether the criterion asks for labels on the way as well; None is False.
    mode, label_maker, round_maker, publish_maker, campaign
        As of `OnTheFlyMaker`.
    result_maker
        Of the document.

    Raises
    ------
    ValueError
        By `make`: a setting is impossible, or does not fit the structure.

    Examples
    --------
    >>> from onfly import label_maker
    >>> from pymatgen.core import Lattice, Structure
    >>> copper = Structure.from_spacegroup("Fm-3m", Lattice.cubic(3.7), ["Cu"], [[0, 0, 0]])
    >>> maker = OnTheFlyRelaxMaker(foundation_model="toy", threshold="50 meV", fmax="0.02 eV/Å",
    ...                            cell=True, label_maker=label_maker("emt"))
    >>> flow = maker.make(copper)
    >>> flow.jobs[-1].name
    'otf relaxed'
    """

    name: str = "on-the-fly relaxation"
    cell: bool | None = None
    pressure: float | None = None
    result_maker: RelaxationResultMaker = field(default_factory=RelaxationResultMaker)

    _DRIVER: ClassVar[str] = "relax"
    _FIELDS: ClassVar[tuple[str, ...]] = ("cell", "pressure")

    def make(
        self,
        structure: _Structure | Sequence[_Structure],
        prev_dir: str | Path | None = None,
        run_id: str | None = None,
    ) -> Flow:
        """Return the flow of a relaxation.

        Parameters
        ----------
        structure
            What is relaxed; several structures with the same atoms share the ensemble and its
            labels. The output of another job may be given, as in a flow of atomate2.
        prev_dir
            Directory that the first label may start from.
        run_id
            Identifier of the run; None makes a new one.

        Returns
        -------
        Flow
            Its output is the `RelaxationDoc`.
        """
        if isinstance(structure, OutputReference):
            return _later(self, [structure], prev_dir, run_id)
        one = isinstance(structure, Structure | Molecule) or not isinstance(structure, Sequence)
        structures: Any = [structure] if one else list(structure)
        return self._flow(structures, self.result_maker, prev_dir, run_id)


@dataclass
class OnTheFlyNebMaker(_SearchMaker):
    """Find the barrier between two minima on the ensemble, and prove it by labels.

    Both ends are relaxed and labelled; the images between them are moved by a nudged elastic band
    whose highest image climbs, and the highest one is labelled, side by side with all images where
    the criterion fires. The ensemble learns, and the band is moved again, until the labels at both
    ends and at the saddle keep the tolerances and their largest forces are at most `fmax`. The
    output is a `BarrierDoc`: barriers by the labels, and by the model with its uncertainty.

    Parameters
    ----------
    name
        Name of the flow.
    spec
        All settings of the run; its one stage has ``driver: neb``.
    foundation_model, threshold, threshold_per_atom, seed
        As of `OnTheFlyMaker`; `threshold` in eV or with its unit.
    fmax
        Largest force at the ends and on the band, in eV/Å or with its unit; None is 0.05 eV/Å.
    n_steps
        Most steps of the band in one round; None is 200.
    optimizer
        Of ASE, for ends and band; None is FIRE.
    n_images
        With the two ends.
    climb, tangent, spring
        Whether the highest image climbs, the method of ASE's `NEB`, and its spring constant in
        eV/Å²; None takes the defaults.
    decisions
        Rounds of labels before the run gives up; None is 10.
    calls
        Whether the criterion asks for labels of other images, and on the way to the ends; None is
        False.
    mode, label_maker, round_maker, publish_maker, campaign
        As of `OnTheFlyMaker`.
    result_maker
        Of the document.

    Raises
    ------
    ValueError
        By `make`: a setting is impossible, or the ends do not belong to one path.

    Examples
    --------
    >>> from onfly import label_maker
    >>> from pymatgen.core import Lattice, Structure
    >>> cell = Structure.from_spacegroup("Fm-3m", Lattice.cubic(3.6), ["Cu"], [[0, 0, 0]])
    >>> initial, final = cell.copy(), cell.copy()
    >>> _ = initial.remove_sites([0]), final.remove_sites([1])
    >>> maker = OnTheFlyNebMaker(foundation_model="toy", threshold="50 meV", n_images=3,
    ...                          label_maker=label_maker("emt"))
    >>> maker.make(initial, final).jobs[-1].name
    'otf barrier'
    """

    name: str = "on-the-fly barrier"
    n_images: int = 5
    climb: bool | None = None
    tangent: Literal["improvedtangent", "aseneb"] | None = None
    spring: float | None = None
    result_maker: BarrierResultMaker = field(default_factory=BarrierResultMaker)

    _DRIVER: ClassVar[str] = "neb"
    _FIELDS: ClassVar[tuple[str, ...]] = ("climb", "tangent", "spring")

    def make(
        self,
        initial: _Structure | Sequence[_Structure],
        final: _Structure | None = None,
        prev_dir: str | Path | None = None,
        run_id: str | None = None,
    ) -> Flow:
        """Return the flow of a barrier.

        Parameters
        ----------
        initial, final
            Both minima, with the same atoms in the same order and the same cell; or a list of two
            as the first argument. The outputs of other jobs may be given.
        prev_dir
            Directory that the first label may start from.
        run_id
            Identifier of the run; None makes a new one.

        Returns
        -------
        Flow
            Its output is the `BarrierDoc`.
        """
        if final is None:
            if (
                not isinstance(initial, Sequence)
                or isinstance(initial, Structure | Molecule)
                or (len(initial) != 2)
            ):
                raise ValueError("a path has two ends: give initial and final")
            initial, final = initial
        if isinstance(initial, OutputReference) or isinstance(final, OutputReference):
            return _later(self, [initial, final], prev_dir, run_id)
        ends: Any = (initial, final)
        images = interpolated(to_atoms(ends[0]), to_atoms(ends[1]), self.n_images)
        return self._flow([to_structure(i) for i in images], self.result_maker, prev_dir, run_id)


@job
def make_now(
    maker: Maker, structures: list[Any], prev_dir: str | None = None, run_id: str | None = None
) -> Response:
    """Return the flow of a maker for structures that were not known before."""
    flow = maker.make(*structures, prev_dir=prev_dir, run_id=run_id)
    return Response(replace=flow)


def _later(
    maker: Maker, structures: list[Any], prev_dir: str | Path | None, run_id: str | None
) -> Flow:
    first = make_now(maker, structures, None if prev_dir is None else str(prev_dir), run_id)
    first.name = f"{maker.name} start"
    return Flow([first], output=first.output, name=maker.name)
