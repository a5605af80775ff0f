"""Properties of a crystal by a fine-tuned model, with error bars from draws of its posterior."""

from onfly.properties.compare import ForceFields, compare, force_fields
from onfly.properties.draws import PotentialCalculator, posterior_draws
from onfly.properties.dynamics import Dynamics
from onfly.properties.elastic import Elastic
from onfly.properties.eos import EquationOfStateFit
from onfly.properties.phonon import Phonons

__all__ = [
    "Dynamics",
    "Elastic",
    "EquationOfStateFit",
    "ForceFields",
    "Phonons",
    "PotentialCalculator",
    "compare",
    "force_fields",
    "posterior_draws",
]
