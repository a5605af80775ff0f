"""Names that steer how a ground state is reached, and do not define which one it is."""

from __future__ import annotations

__all__ = ["ABINIT_GEOMETRY", "RUN_ONLY_INCAR_TAGS", "RUN_ONLY_KEYWORDS"]

_INCAR = """
ALGO IALGO AMIN AMIX AMIX_MAG BMIX BMIX_MAG IMIX INIMIX MAXMIX WC MIXPRE MAGPRE LMAXMIX TIME
WEIMIN EBREAK DEPER LDIAG LSUBROT ISEARCH NBANDS NELM NELMIN NELMDL NELMGW ISTART ICHARG INIWAV
LWAVE LCHARG LAECHG LELF LVTOT LVHAR LVACPOTAV LORBIT RWIGS NEDOS EMIN EMAX LPARD NWRITE SYSTEM
LH5 LDAUPRINT LCHIMAG LOPTICS LEPSILON KPAR NPAR NCORE NSIM NCSHMEM NOMEGAPAR NTAUPAR LPLANE
LSCALU LSCALAPACK LSCAAWARE LASYNC MAXMEM ISYM SYMPREC IBRION NSW NFREE POTIM EDIFFG ISIF LMUSIC
KGAMMA_ONLY
"""
_KEYWORDS = """
directory label command profile txt verbose verbosity logfile log nthreads max_memory max_cycle
max_iterations cache_api mixer mixer_memory mixer_damping guess initial_guess mixing device
"""
_ABINIT = """
acell rprim angdeg xred xcart natom typat znucl ntypat nstep irdwfk irdden getwfk getden prtwf
prtden prtebands autoparal paral_kgb npkpt npband npfft max_ncpus indata_prefix outdata_prefix
tmpdata_prefix pp_dirpath pseudos iomode
"""

RUN_ONLY_INCAR_TAGS: frozenset[str] = frozenset(_INCAR.split())
RUN_ONLY_KEYWORDS: frozenset[str] = frozenset(_KEYWORDS.split())
ABINIT_GEOMETRY: frozenset[str] = frozenset(_ABINIT.split())
