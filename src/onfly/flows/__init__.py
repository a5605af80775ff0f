"""Flows: one compound, a campaign of many, production MD."""

from onfly.flows.finetune import OnTheFlyMaker

__all__ = ["OnTheFlyMaker"]
