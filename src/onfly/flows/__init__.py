"""Flows: one compound, a campaign of many, production MD."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onfly.flows.campaign import CampaignMaker
    from onfly.flows.finetune import OnTheFlyMaker
    from onfly.flows.production import ProductionMaker
    from onfly.flows.routing import route_jobs
    from onfly.flows.searches import OnTheFlyNebMaker, OnTheFlyRelaxMaker

__all__ = [
    "CampaignMaker",
    "OnTheFlyMaker",
    "OnTheFlyNebMaker",
    "OnTheFlyRelaxMaker",
    "ProductionMaker",
    "route_jobs",
]

# imported when they are asked for: who routes jobs need not import torch
_MODULES = {
    "CampaignMaker": "campaign",
    "OnTheFlyMaker": "finetune",
    "OnTheFlyNebMaker": "searches",
    "OnTheFlyRelaxMaker": "searches",
    "ProductionMaker": "production",
    "route_jobs": "routing",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
