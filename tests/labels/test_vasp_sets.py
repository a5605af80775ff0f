from __future__ import annotations

import numpy as np
import pytest
from jobflow import Flow
from monty.json import MontyDecoder, jsanitize
from pymatgen.core import Lattice, Structure

from onfly.labels.careful import careful
from onfly.labels.input_hash import RUN_ONLY_INCAR_TAGS, hash_settings, settings_of
from onfly.labels.maker import maker_for_run
from onfly.labels.presets import label_maker
from onfly.labels.vasp import VaspLabelMaker
from onfly.labels.vasp_presets import VASP_PRESETS
from onfly.labels.vasp_sets import SnapshotSetGenerator

from .conftest import rattled


@pytest.fixture(scope="module")
def cazrs3() -> Structure:
    """160 atoms, sites of MD order: not grouped by element."""
    cell = Structure.from_spacegroup(
        "Pnma",
        Lattice.orthorhombic(7.03, 9.59, 6.54),
        ["Ca", "Zr", "S", "S"],
        [[0.048, 0.25, 0.009], [0, 0, 0.5], [0.458, 0.25, 0.086], [0.2, 0.04, 0.79]],
    )
    assert len(cell) == 20
    cell.make_supercell([2, 2, 2])
    order = np.random.default_rng(0).permutation(len(cell))
    return Structure.from_sites([cell[i] for i in order])


@pytest.fixture(scope="module")
def lamno3() -> Structure:
    """2×2×2 of the cubic cell, antiferromagnetic of type A."""
    cell = Structure(
        Lattice.cubic(3.94),
        ["La", "Mn", "O", "O", "O"],
        [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
    )
    cell.make_supercell([2, 2, 2])
    moments = [
        (4.0 if round(s.frac_coords[2] * 4) % 4 == 1 else -4.0) if s.specie.symbol == "Mn" else 0.0
        for s in cell
    ]
    cell.add_site_property("magmom", moments)
    order = np.random.default_rng(1).permutation(len(cell))
    return Structure.from_sites([cell[i] for i in order])


def inputs(maker, structure):
    return maker.input_set_generator.get_input_set(structure, potcar_spec=True)


def digest(written):
    """Hash what was written as the task document of the calculation would be hashed."""
    # with potcar_spec, pymatgen keeps the symbols as text
    source = {
        "incar": dict(written.incar),
        "kpoints": written.kpoints.as_dict(),
        "potcar": written["POTCAR.spec"].split(),
    }
    return hash_settings(settings_of({"calcs_reversed": [{"input": source}]}, "vasp"))


def md_frame(structure, seed):
    """A frame as MD gives it: moved atoms, another cell, velocities, no moments."""
    frame = rattled(structure, 0.1, seed)
    if "magmom" in frame.site_properties:
        frame.remove_site_property("magmom")
    rng = np.random.default_rng(seed)
    frame.apply_strain(rng.normal(scale=0.02, size=3), inplace=True)
    frame.add_site_property("velocities", rng.normal(size=(len(frame), 3)).tolist())
    return frame


def test_settings_of_a_snapshot(cazrs3):
    written = inputs(label_maker("vasp-pbe"), cazrs3)
    incar = written.incar
    assert len(cazrs3) == 160
    assert (incar["ISYM"], incar["ISIF"], incar["NSW"], incar["IBRION"]) == (0, 2, 0, -1)
    assert incar["LWAVE"] is True
    assert incar["LREAL"] is False
    assert incar["EDIFF"] <= 1e-6
    assert (incar["ISMEAR"], incar["SIGMA"]) == (0, 0.05)
    assert not any(tag.startswith("LDAU") for tag in incar)
    assert "KSPACING" not in incar
    assert "GGA" not in incar
    assert written.kpoints.kpts[0] == (1, 1, 1)


def test_sites_are_sorted_and_velocities_dropped(cazrs3):
    written = inputs(label_maker("vasp-pbe"), md_frame(cazrs3, 1))
    assert written.poscar.site_symbols == ["Ca", "Zr", "S"]
    assert written.poscar.velocities is None


def test_mesh_and_hash_are_constant_along_a_run(cazrs3):
    maker = maker_for_run(label_maker("vasp-mp-pbe-u"), cazrs3)
    first = inputs(maker, cazrs3)
    for seed in range(5):
        frame = md_frame(cazrs3, seed)
        frame.apply_strain([0.3, -0.3, 0.3], inplace=True)
        written = inputs(maker, frame)
        assert written.kpoints.kpts == first.kpoints.kpts
        assert digest(written) == digest(first)
    # without fixing, a mesh follows the cell, and the hash tells
    loose = label_maker("vasp-mp-pbe-u")
    small = cazrs3.copy()
    small.apply_strain([-0.6, -0.6, -0.6], inplace=True)
    assert inputs(loose, small).kpoints.kpts != first.kpoints.kpts
    assert digest(inputs(loose, small)) != digest(first)


def test_u_and_moments_are_constant_along_a_run(lamno3):
    maker = maker_for_run(label_maker("vasp-mp-pbe-u"), lamno3)
    first = inputs(maker, lamno3)
    incar = first.incar
    assert len(lamno3) == 40
    symbols = first.poscar.site_symbols
    assert dict(zip(symbols, incar["LDAUU"], strict=True)) == {"La": 0, "Mn": 3.9, "O": 0}
    moments = np.array(incar["MAGMOM"])
    elements = [site.specie.symbol for site in first.poscar.structure]
    mn = moments[[e == "Mn" for e in elements]]
    assert sorted(mn) == [-4] * 4 + [4] * 4
    assert np.all(moments[[e != "Mn" for e in elements]] == 0)
    for seed in range(3):
        written = inputs(maker, md_frame(lamno3, seed))
        assert written.incar["MAGMOM"] == incar["MAGMOM"]
        assert written.incar["LDAUU"] == incar["LDAUU"]
        assert digest(written) == digest(first)
    # without the moments of the first structure the frames would be ferromagnetic
    lost = inputs(label_maker("vasp-mp-pbe-u"), md_frame(lamno3, 0))
    assert digest(lost) != digest(first)


def test_mesh_of_a_small_cell(lamno3):
    mesh = maker_for_run(label_maker("vasp-mp-pbe-u"), lamno3).input_set_generator.kpoints_mesh
    assert mesh == (3, 3, 3)
    dense = maker_for_run(label_maker("vasp-r2scan"), lamno3).input_set_generator.kpoints_mesh
    # 2π / 7.88 Å / 0.22 Å⁻¹ = 3.6
    assert dense == (4, 4, 4)


def test_levels_of_theory(lamno3):
    written = {name: inputs(label_maker(f"vasp-{name}"), lamno3).incar for name in VASP_PRESETS}
    assert written["mp-pbe-u"]["LDAU"] is True
    assert "LDAU" not in written["pbe"]
    assert written["r2scan"]["METAGGA"].upper() == "R2SCAN"
    assert "GGA" not in written["r2scan"]
    assert written["b3lyp"]["GGA"].upper() == "B3"
    assert (written["b3lyp"]["AEXX"], written["b3lyp"]["AGGAX"]) == (0.2, 0.72)
    assert written["hse06"]["HFSCREEN"] == 0.2
    for name, incar in written.items():
        # VASP's default of ISIF is 0 for hybrids
        assert incar["ISIF"] == 2, name
        assert incar["EDIFF"] == 1e-6, name
        assert incar["ISPIN"] == 2, name
        assert "KSPACING" not in incar, name


def test_previous_calculations_leave_no_trace(lamno3, tmp_path):
    generator = SnapshotSetGenerator()
    plain = generator.get_input_set(lamno3, potcar_spec=True)
    # would raise if it were read: the directory holds nothing
    again = generator.get_input_set(lamno3, prev_dir=tmp_path, potcar_spec=True)
    assert again.incar == plain.incar


def test_kspacing_is_refused():
    with pytest.raises(ValueError, match="kpoints_mesh"):
        label_maker("vasp-pbe", user_incar_settings={"KSPACING": 0.2})


def test_unknown_preset_and_wrong_moments(lamno3):
    with pytest.raises(ValueError, match="mp-pbe-u"):
        SnapshotSetGenerator(preset="lda")
    with pytest.raises(ValueError, match="3 magnetic moments for 40"):
        inputs(VaspLabelMaker.from_preset("pbe", magmoms=[1.0, 2.0, 3.0]), lamno3)


def test_user_settings_win_and_survive_serialisation(lamno3):
    maker = label_maker("vasp-mp-pbe-u", user_incar_settings={"ENCUT": 600, "LREAL": "Auto"})
    maker = maker_for_run(maker, lamno3)
    again = MontyDecoder().process_decoded(jsanitize(maker.as_dict(), strict=True))
    assert inputs(again, lamno3).incar == inputs(maker, lamno3).incar
    assert inputs(again, lamno3).incar["ENCUT"] == 600
    assert again.input_set_generator.kpoints_mesh == maker.input_set_generator.kpoints_mesh
    # what travels with each job is small
    assert len(str(jsanitize(maker.as_dict(), strict=True))) < 6000


def test_structure_given_is_not_changed(lamno3):
    before = lamno3.as_dict()
    inputs(label_maker("vasp-pbe"), lamno3)
    assert lamno3.as_dict() == before


@pytest.mark.parametrize("preset", list(VASP_PRESETS))
def test_careful_keeps_the_surface(lamno3, preset):
    maker = maker_for_run(label_maker(f"vasp-{preset}"), lamno3)
    second = careful(maker)
    first, again = inputs(maker, lamno3), inputs(second, lamno3)
    assert digest(first) == digest(again)
    changed = {t for t in again.incar if again.incar[t] != first.incar.get(t)}
    assert changed <= RUN_ONLY_INCAR_TAGS
    assert again.incar["ALGO"] != first.incar["ALGO"]
    assert again.incar["NELM"] > first.incar["NELM"]
    assert (second.retry, second.reuse_wavecar) == (False, False)


def test_other_generators_are_left_as_they_are(lamno3):
    from atomate2.vasp.sets.core import StaticSetGenerator

    maker = VaspLabelMaker(input_set_generator=StaticSetGenerator())
    assert maker_for_run(maker, lamno3) is maker


def test_careful_of_other_makers():
    xtb = careful(label_maker("gfn1-xtb"))
    assert xtb.calculator_kwargs["max_iterations"] > 250
    assert careful(xtb) is None
    assert careful(label_maker("emt")) is None


def test_powerups_of_atomate2_reach_the_maker(lamno3):
    from atomate2.common.powerups import add_metadata_to_flow, update_custodian_handlers
    from atomate2.vasp.powerups import update_user_incar_settings, update_user_kpoints_settings
    from custodian.vasp.handlers import UnconvergedErrorHandler

    flow = Flow([label_maker("vasp-pbe").make(lamno3)])
    flow = update_user_incar_settings(flow, {"NCORE": 4, "ENCUT": 450})
    flow = update_custodian_handlers(flow, (UnconvergedErrorHandler(),), VaspLabelMaker)
    flow = add_metadata_to_flow(flow, {"project": "x"}, VaspLabelMaker)
    maker = flow.jobs[0].maker
    written = inputs(maker, lamno3)
    assert (written.incar["NCORE"], written.incar["ENCUT"]) == (4, 450)
    assert [type(h) for h in maker.run_vasp_kwargs["handlers"]] == [UnconvergedErrorHandler]
    assert maker.task_document_kwargs["additional_fields"] == {"project": "x"}
    flow = update_user_kpoints_settings(flow, {"reciprocal_density": 300})
    assert inputs(flow.jobs[0].maker, lamno3).kpoints.kpts[0] == (5, 5, 5)
