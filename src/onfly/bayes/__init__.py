"""Bayesian fine-tuning: prior, likelihood, sampler, ensemble and calibration."""

from onfly.bayes.adaptive import Plateau
from onfly.bayes.calibration import Calibration
from onfly.bayes.chain import ChainDivergedError, ChainTrace, run_cycle
from onfly.bayes.ensemble import energy_moments, force_moments
from onfly.bayes.force_calibration import ForceCalibration
from onfly.bayes.heads import head_log_scale, head_parameters
from onfly.bayes.last_layer import LastLayerPosterior
from onfly.bayes.likelihood import LikelihoodScales
from onfly.bayes.minibatch import PrioritySampler
from onfly.bayes.parallel import ChainPool
from onfly.bayes.posterior import (
    MemberForces,
    Posterior,
    PosteriorState,
    UpdateInfo,
    posterior_from_dict,
    posterior_kinds,
)
from onfly.bayes.prior import GaussianPrior
from onfly.bayes.schedules import CyclicSchedule
from onfly.bayes.sghmc import SGHMCState
from onfly.bayes.sghmc_posterior import SGHMCPosterior
from onfly.bayes.stress_calibration import StressCalibration
from onfly.bayes.target import Target
from onfly.bayes.transform import Transform

__all__ = [
    "Calibration",
    "ChainDivergedError",
    "ChainPool",
    "ChainTrace",
    "CyclicSchedule",
    "ForceCalibration",
    "GaussianPrior",
    "LastLayerPosterior",
    "LikelihoodScales",
    "MemberForces",
    "Plateau",
    "Posterior",
    "PosteriorState",
    "PrioritySampler",
    "SGHMCPosterior",
    "SGHMCState",
    "StressCalibration",
    "Target",
    "Transform",
    "UpdateInfo",
    "energy_moments",
    "force_moments",
    "head_log_scale",
    "head_parameters",
    "posterior_from_dict",
    "posterior_kinds",
    "run_cycle",
]
