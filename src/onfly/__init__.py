"""On-the-fly Bayesian fine-tuning of foundation interatomic potentials for atomate2 and jobflow."""

__version__ = "0.1.0"
