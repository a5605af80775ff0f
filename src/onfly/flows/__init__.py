"""Flows: one compound, a campaign of many, production MD."""

from onfly.flows.campaign import CampaignMaker
from onfly.flows.finetune import OnTheFlyMaker
from onfly.flows.production import ProductionMaker
from onfly.flows.routing import route_jobs

__all__ = ["CampaignMaker", "OnTheFlyMaker", "ProductionMaker", "route_jobs"]
