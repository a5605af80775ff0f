"""Input set for snapshots of molecular dynamics: the same settings for every frame of a run."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field
from typing import Any

from atomate2.vasp.sets.base import VaspInputGenerator
from pymatgen.core import Structure
from pymatgen.io.vasp import Incar, Kpoints, VaspInput

from onfly.labels.vasp_inputs import incar_problems, mesh_problems
from onfly.labels.vasp_presets import VASP_PRESETS, VaspPreset

__all__ = ["SnapshotSetGenerator"]


@dataclass
class SnapshotSetGenerator(VaspInputGenerator):
    """Generate inputs whose potential energy surface does not change along a run.

    Nothing is taken over from a previous calculation but the wave function, and nothing depends
    on the frame: k-mesh, initial moments and U values are those of the run.

    Parameters
    ----------
    config_dict, inherit_incar, auto_ismear, auto_metal_kpoints
        As of atomate2, with defaults that keep the surface.
    preset
        Level of theory, a key of `VASP_PRESETS`.
    kpoints_mesh
        Γ-centred mesh of the run. None derives it from each structure: right for one cell, but
        it may jump when a barostat changes the cell; `for_structure` fixes it.
    magmoms
        Initial magnetic moments by site, in the order of the structures to come. None takes the
        structure's ``magmom`` property or the preset's values by element.

    Raises
    ------
    ValueError
        If the preset is unknown, or a setting would change the energy surface along a run.

    Notes
    -----
    Sites are sorted by element: unsorted frames would want one POTCAR for each run of equal
    neighbours. `extract_label` brings the forces back to the order that was asked for.

    Examples
    --------
    >>> from onfly.testing.models import crystal
    >>> SnapshotSetGenerator(preset="pbe").for_structure(crystal("Cu", "Au"))["kpoints_mesh"]
    (6, 6, 6)
    """

    config_dict: dict[str, Any] = field(default_factory=dict)
    auto_ismear: bool = False
    auto_metal_kpoints: bool = False
    inherit_incar: bool | list[str] = False
    preset: str = "mp-pbe-u"
    kpoints_mesh: tuple[int, int, int] | None = None
    magmoms: list[float] | None = None

    def __post_init__(self) -> None:
        """Look up the preset.

        Raises
        ------
        ValueError
            If there is no such preset, KSPACING is set, a tag or the mesh cannot be, or the tags
            make no self-consistent single point.
        """
        if self.preset not in VASP_PRESETS:
            raise ValueError(
                f"unknown VASP preset {self.preset!r}: use one of {', '.join(VASP_PRESETS)}"
            )
        given = self.config_dict
        self.config_dict = given or self.level.config
        super().__post_init__()
        # not kept in the serialised generator, which travels with every job
        self.config_dict = given
        problems = incar_problems(self.user_incar_settings or {})
        if self.kpoints_mesh is not None:
            problems += mesh_problems(self.kpoints_mesh)
        if problems:
            raise ValueError("; ".join(problems))
        if self.kpoints_mesh is not None:
            n1, n2, n3 = self.kpoints_mesh
            self.kpoints_mesh = (int(n1), int(n2), int(n3))
        self._refuse_kspacing()

    def _refuse_kspacing(self) -> None:
        if self.user_incar_settings.get("KSPACING") is not None:
            raise ValueError(
                "KSPACING lets the k-mesh change with the cell: give kpoints_mesh instead"
            )

    @property
    def level(self) -> VaspPreset:
        """The preset."""
        return VASP_PRESETS[self.preset]

    def for_structure(self, structure: Structure) -> dict[str, Any]:
        """Return the fields that fix mesh and moments to those of a run's first structure."""
        magmoms = self.magmoms
        if magmoms is None and "magmom" in structure.site_properties:
            magmoms = [float(m or 0.0) for m in structure.site_properties["magmom"]]
        mesh = self.kpoints_mesh or self.level.mesh(structure)
        return {"kpoints_mesh": mesh, "magmoms": magmoms}

    @property
    def incar_updates(self) -> dict[str, Any]:
        """Tags of the preset."""
        return self.level.incar_updates()

    @property
    def kpoints_updates(self) -> Kpoints:  # type: ignore[override]
        """The mesh as Γ-centred KPOINTS."""
        assert self.structure is not None  # pymatgen asks only when it has one
        n1, n2, n3 = self.kpoints_mesh or self.level.mesh(self.structure)
        return Kpoints.gamma_automatic((n1, n2, n3))

    @property
    def incar(self) -> Incar:
        """INCAR with the tags that pymatgen drops from static calculations.

        VASP's default of ISIF is 0 for hybrids, which would leave the label without stress.
        """
        incar = super().incar
        incar.setdefault("ISIF", 2)
        incar.setdefault("IBRION", -1)
        return incar

    def get_input_set(
        self,
        structure: Structure | None = None,
        prev_dir: Any = None,
        potcar_spec: bool = False,
    ) -> VaspInput:
        """Return the inputs for a frame; ``prev_dir`` is ignored on purpose.

        Raises
        ------
        ValueError
            If the moments do not fit the structure, or KSPACING is set.
        """
        self._refuse_kspacing()
        if structure is not None:
            structure = structure.copy()
            # velocities of MD frames would be written to the POSCAR
            for name in set(structure.site_properties) - {"magmom"}:
                structure.remove_site_property(name)
            if self.magmoms is not None:
                if len(self.magmoms) != len(structure):
                    raise ValueError(
                        f"{len(self.magmoms)} magnetic moments for {len(structure)} sites"
                    )
                structure.add_site_property("magmom", list(self.magmoms))
            # atomate2's generator hides the setter in which pymatgen's would sort
            if self.sort_structure:
                structure = structure.get_sorted_structure()
        # on a copy: pymatgen keeps the structure, and the generator travels with every job
        return VaspInputGenerator.get_input_set(
            copy(self), structure, prev_dir=None, potcar_spec=potcar_spec
        )
