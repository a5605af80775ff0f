"""From atoms and their labels to what `onfly.bayes` samples."""

from onfly.learning.target import PotentialTarget, potential_target

__all__ = ["PotentialTarget", "potential_target"]
