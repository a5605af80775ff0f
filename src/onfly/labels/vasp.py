"""Labels by VASP, run by custodian under atomate2."""

from __future__ import annotations

import logging
import shutil
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from atomate2.vasp.jobs.base import vasp_job
from atomate2.vasp.jobs.core import StaticMaker
from atomate2.vasp.sets.base import VaspInputGenerator
from custodian.custodian import CustodianError
from emmet.core.tasks import CustodianDoc
from jobflow import Response
from pymatgen.core import Structure

from onfly.labels.careful import careful, careful_incar
from onfly.labels.vasp_handlers import surface_keeping_handlers
from onfly.labels.vasp_sets import SnapshotSetGenerator
from onfly.labels.wavecar import discard_wavecar, mark_directory, reuse_wavecar

__all__ = ["VaspLabelMaker"]

logger = logging.getLogger(__name__)

_FAILED = "first_attempt"
# what VASP, custodian and the input set leave; files of the workflow manager stay where they are
_WRITTEN: tuple[str, ...] = (
    *("INCAR*", "KPOINTS*", "POSCAR*", "POTCAR*", "CONTCAR*", "OUTCAR*", "OSZICAR*"),
    *("vasprun.xml*", "vaspout.h5*", "vasp.out*", "std_err.txt*", "custodian.json*"),
    *("error.*.tar.gz", "XDATCAR*", "CHG*", "EIGENVAL*", "DOSCAR*", "PROCAR*", "IBZKPT*"),
    *("PCDAT*", "REPORT*", "STOPCAR*"),
)


def _set_aside_outputs() -> None:
    """Move everything a failed attempt wrote, so that none of it is taken for a result."""
    target = Path(_FAILED)
    target.mkdir(exist_ok=True)
    for pattern in _WRITTEN:
        for path in list(Path.cwd().glob(pattern)):
            shutil.move(path, target / path.name)
    for path in list(Path.cwd().glob("WAVECAR*")):
        path.unlink()  # large, and of no use


def _single_point(maker: Any, structure: Structure) -> Response:
    """Do what atomate2's job does, within the job that is running."""
    make: Any = StaticMaker.make
    return make.original(maker, structure)


@dataclass
class VaspLabelMaker(StaticMaker):
    """Single point for a frame of molecular dynamics.

    Parameters
    ----------
    name
        Job name. Its second word is "vasp", from which atomate2's powerups tell the code.
    input_set_generator
        `SnapshotSetGenerator`, or another generator (which must then keep the surface fixed).
    run_vasp_kwargs
        For `atomate2.vasp.run.run_vasp`; by default with the handlers of
        `surface_keeping_handlers`.
    task_document_kwargs
        For emmet's TaskDoc; by default without densities of states and bands.
    reuse_wavecar
        Start the SCF from the WAVECAR in ``prev_dir``.
    keep_wavecars
        Keep the WAVECAR of every label. By default only the newest label has one: that of
        ``prev_dir`` is deleted when the new label is done, if a label maker made it.
    retry
        If custodian gives up, try once more within the same job with a more careful SCF on the
        same energy surface (see `onfly.labels.careful`); what failed is kept in the folder
        ``first_attempt``. Off by default: an on-the-fly run makes the second attempt itself.
    write_input_set_kwargs, copy_vasp_kwargs, stop_children_kwargs, write_additional_data
        As of atomate2's makers.

    Examples
    --------
    >>> maker = VaspLabelMaker.from_preset("mp-pbe-u", kpoints_mesh=[4, 4, 4])
    >>> maker.input_set_generator.kpoints_mesh
    (4, 4, 4)
    """

    name: str = "label vasp"
    input_set_generator: VaspInputGenerator = field(default_factory=SnapshotSetGenerator)
    run_vasp_kwargs: dict[str, Any] = field(
        default_factory=lambda: {"handlers": surface_keeping_handlers()}
    )
    task_document_kwargs: dict[str, Any] = field(
        default_factory=lambda: {"parse_dos": False, "parse_bandstructure": False}
    )
    reuse_wavecar: bool = True
    keep_wavecars: bool = False
    retry: bool = False

    @classmethod
    def from_preset(
        cls,
        preset: str,
        *,
        user_incar_settings: dict[str, Any] | None = None,
        kpoints_mesh: tuple[int, int, int] | None = None,
        magmoms: list[float] | None = None,
        **kwargs: Any,
    ) -> VaspLabelMaker:
        """Return the maker for a level of theory.

        Parameters
        ----------
        preset
            A key of `onfly.labels.vasp_presets.VASP_PRESETS`.
        user_incar_settings, kpoints_mesh, magmoms
            For `SnapshotSetGenerator`.
        **kwargs
            Fields of the maker. ``run_vasp_kwargs`` keep the default handlers unless they
            bring their own.
        """
        generator = SnapshotSetGenerator(
            preset=preset,
            user_incar_settings=user_incar_settings or {},
            kpoints_mesh=kpoints_mesh,
            magmoms=magmoms,
        )
        run = {"handlers": surface_keeping_handlers()} | kwargs.pop("run_vasp_kwargs", {})
        return cls(input_set_generator=generator, run_vasp_kwargs=run, **kwargs)

    def for_run(self, structure: Structure) -> VaspLabelMaker:
        """Return a maker whose k-mesh and moments are fixed to those of a run's first structure.

        Generators other than `SnapshotSetGenerator` are left as they are; the input hash of the
        labels then tells if they change along the run.
        """
        generator = self.input_set_generator
        if not isinstance(generator, SnapshotSetGenerator):
            return self
        fields = generator.as_dict() | generator.for_structure(structure)
        fixed = cast("SnapshotSetGenerator", SnapshotSetGenerator.from_dict(fields))
        return replace(self, input_set_generator=fixed)

    @vasp_job
    def make(self, structure: Structure, prev_dir: str | Path | None = None) -> Response:
        """Run VASP on a frame.

        Parameters
        ----------
        structure
            Frame to label.
        prev_dir
            Directory of the label before, whose wave function starts the SCF. Only the WAVECAR is
            taken from it: a vasprun.xml from there could be taken for the result of a run that
            died before it wrote its own.
        """
        mark_directory()
        if prev_dir is not None and self.reuse_wavecar:
            reuse_wavecar(prev_dir)
        response = self._run(structure)
        if prev_dir is not None and not self.keep_wavecars:
            discard_wavecar(prev_dir)
        return response

    def _run(self, structure: Structure) -> Response:
        """Run VASP, and once more if that is wanted and needed."""
        # the base class would inherit settings from a previous directory; handlers count errors,
        # so each label gets fresh ones
        attempt = replace(
            self,
            write_input_set_kwargs=self.write_input_set_kwargs | {"from_prev": False},
            run_vasp_kwargs=deepcopy(self.run_vasp_kwargs),
        )
        try:
            return _single_point(attempt, structure)
        except (CustodianError, RuntimeError) as error:
            if not self.retry:
                raise
            logger.warning("VASP failed (%s); trying once more with a more careful SCF", error)
            reason = f"{type(error).__name__}: {str(error)[:300]}"
        changes = careful_incar(attempt)
        _set_aside_outputs()
        gentler = careful(replace(attempt, run_vasp_kwargs=deepcopy(self.run_vasp_kwargs)))
        response = _single_point(gentler, structure)
        document = response.output
        correction = {
            "handler": "onfly.labels.careful",
            "errors": [reason],
            "actions": [{"dict": "INCAR", "action": {"_set": changes}}],
        }
        document.custodian = [
            *(document.custodian or []),
            CustodianDoc.model_validate({"corrections": [correction]}),
        ]
        response.stored_data = {"custodian": document.custodian}
        return response
