"""Bayesian fine-tuning: prior, likelihood, sampler, ensemble and calibration."""

from onfly.bayes.calibration import Calibration
from onfly.bayes.likelihood import LikelihoodScales
from onfly.bayes.minibatch import PrioritySampler
from onfly.bayes.prior import GaussianPrior
from onfly.bayes.schedules import CyclicSchedule
from onfly.bayes.sghmc import SGHMCState

__all__ = [
    "Calibration",
    "CyclicSchedule",
    "GaussianPrior",
    "LikelihoodScales",
    "PrioritySampler",
    "SGHMCState",
]
