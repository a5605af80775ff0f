"""Molecular dynamics on the ensemble: a pure driver, ``step(state) -> (state, event)``."""
