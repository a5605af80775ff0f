"""Input and output files as CP2K writes them, of two atoms."""

from __future__ import annotations

from pathlib import Path

INPUT = """\
&GLOBAL
  PROJECT_NAME label
  RUN_TYPE ENERGY_FORCE
&END GLOBAL
&FORCE_EVAL
  METHOD QS
  STRESS_TENSOR ANALYTICAL
  &DFT
    &XC
      &XC_FUNCTIONAL
        &PBE
        &END PBE
      &END XC_FUNCTIONAL
    &END XC
  &END DFT
  &PRINT
    &FORCES ON
{forces}
    &END FORCES
    &STRESS_TENSOR ON
{stress}
    &END STRESS_TENSOR
  &END PRINT
  &SUBSYS
    &CELL
      A 5.0 0.0 0.0
      B 0.0 5.2 0.0
      C 0.3 0.0 5.4
    &END CELL
    &KIND Na
      ELEMENT Na
      BASIS_SET DZVP-MOLOPT-SR-GTH
      POTENTIAL GTH-PBE-q9
    &END KIND
    &KIND Cl
      ELEMENT Cl
      BASIS_SET DZVP-MOLOPT-SR-GTH
      POTENTIAL GTH-PBE-q7
    &END KIND
  &END SUBSYS
&END FORCE_EVAL
"""

OUTPUT = """
 CP2K| version string:                                     CP2K version {version}
 CP2K| Input file name                                                   cp2k.inp

 GLOBAL| Project name                                                       label
 GLOBAL| Run type                                                    ENERGY_FORCE

 DFT| Spin unrestricted (spin-polarized) Kohn-Sham calculation               UKS
 DFT| Multiplicity                                                              1
 DFT| Charge                                                                    0

  1. Atomic kind: Na                                    Number of atoms:       1

     Orbital Basis Set                                     DZVP-MOLOPT-SR-GTH

     Potential information for                                       GTH-PBE-q9

  2. Atomic kind: Cl                                    Number of atoms:       1

     Orbital Basis Set                                     DZVP-MOLOPT-SR-GTH

     Potential information for                                       GTH-PBE-q7

 MOLECULE KIND INFORMATION

 TOTAL NUMBERS AND MAXIMUM NUMBERS

  Total number of            - Atomic kinds:                                   2
                             - Atoms:                                          2

 MODULE QUICKSTEP: ATOMIC COORDINATES IN ANGSTROM

   Atom Kind Element         X             Y             Z       Z(eff)     Mass

      1    1 Na  11     0.100000      0.000000      0.000000     9.0000  22.9898
      2    2 Cl  17     2.600000      2.500000      2.800000     7.0000  35.4530

 POISSON| Periodicity                                                         XYZ

  *** SCF run converged in    11 steps ***

 ENERGY| Total FORCE_EVAL ( QS ) energy [a.u.]:              -62.500000000000000

 ATOMIC FORCES in [a.u.]

 # Atom   Kind   Element          X              Y              Z
      1      1      Na          0.01000000    -0.02000000     0.03000000
      2      2      Cl         -0.01000000     0.02000000    -0.03000000
 SUM OF ATOMIC FORCES           0.00000000     0.00000000     0.00000000     0.00000000

 STRESS| Analytical stress tensor [{unit}]
 STRESS|                        x                   y                   z
 STRESS|      x        1.00000000000E+00   2.00000000000E-01   3.00000000000E-01
 STRESS|      y        2.00000000000E-01   2.00000000000E+00   4.00000000000E-01
 STRESS|      z        3.00000000000E-01   4.00000000000E-01   3.00000000000E+00
 STRESS| 1/3 Trace                                              2.00000000000E+00

 -------------------------------------------------------------------------------
 -                                T I M I N G                                  -
 -------------------------------------------------------------------------------
 SUBROUTINE                       CALLS  ASD         SELF TIME        TOTAL TIME
                                MAXIMUM       AVERAGE  MAXIMUM  AVERAGE  MAXIMUM
 CP2K                                 1  1.0    0.010    0.012   12.300   12.301
 -------------------------------------------------------------------------------

 The number of warnings for this run is : 0

  **** **** ******  **  PROGRAM ENDED AT                 2026-01-01 00:00:00.000
"""

ENERGY = -62.5  # Ha
FORCES = [[0.01, -0.02, 0.03], [-0.01, 0.02, -0.03]]  # Ha/Bohr
STRESS = [[1.0, 0.2, 0.3], [0.2, 2.0, 0.4], [0.3, 0.4, 3.0]]  # in the printed unit


def write_cp2k(
    folder: Path, version: str = "2024.1", unit: str = "GPa", stress: str = "", forces: str = ""
) -> Path:
    """Write both files and return the folder."""
    (folder / "cp2k.inp").write_text(INPUT.format(stress=stress, forces=forces))
    (folder / "cp2k.out").write_text(OUTPUT.format(version=version, unit=unit))
    return folder
