"""Custodian handlers that never move the potential energy surface."""

from __future__ import annotations

from custodian.custodian import ErrorHandler
from custodian.vasp.handlers import (
    FrozenJobErrorHandler,
    PositiveEnergyErrorHandler,
    StdErrHandler,
    UnconvergedErrorHandler,
    VaspErrorHandler,
)

__all__ = ["SURFACE_KEEPING_ERRORS", "surface_keeping_handlers"]

# Errors whose corrections touch only algorithm, mixing, bands, parallelisation, symmetry or stale
# wave functions. Left out, since their corrections set ISMEAR and SIGMA (tet, dentet, algo_tet),
# LREAL or PREC (subspacematrix, rspher, real_optlay, nicht_konv), the k-mesh (brmix, tetirr,
# incorrect_shift, rot_matrix, inv_rot_mat) or the cell (zpotrf, triple_product), and those of
# relaxations (zbrent, brions, fexcf).
SURFACE_KEEPING_ERRORS: tuple[str, ...] = (
    "amin",
    "too_few_bands",
    "nbands_not_sufficient",
    "pssyevx",
    "pdsyevx",
    "eddrmm",
    "edddav",
    "zheev",
    "eddiag",
    "grad_not_orth",
    "coef",
    "elf_kpar",
    "dfpt_ncore",
    "rhosyg",
    "posmap",
    "pricel",
    "pricelv",
    "point_group",
    "symprec_noise",
    "bravais",
    "ksymm",
    "ibzkpt",
    "hnform",
    "set_core_wf",
    "read_error",
    "spin_polarized_harris",
)


def surface_keeping_handlers(frozen_timeout: int = 21_600) -> tuple[ErrorHandler, ...]:
    """Return the handlers for labels.

    Of atomate2's default handlers these are missing: those that change KSPACING, SIGMA and
    ISMEAR (metals, smearing), the k-mesh (mesh symmetry), or only serve relaxations.

    Parameters
    ----------
    frozen_timeout
        Seconds without output after which VASP is taken to hang.
    """
    return (
        VaspErrorHandler(errors_subset_to_catch=list(SURFACE_KEEPING_ERRORS)),
        UnconvergedErrorHandler(),
        PositiveEnergyErrorHandler(),
        FrozenJobErrorHandler(timeout=frozen_timeout),
        StdErrHandler(),
    )
