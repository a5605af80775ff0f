"""On-the-fly fine-tuning of foundation interatomic potentials, for atomate2 and jobflow.

The names below are the public face. They are imported when they are used, so that ``import onfly``
costs nothing.

Examples
--------
>>> from onfly import OnTheFlyMaker, label_maker
>>> maker = OnTheFlyMaker(foundation_model="toy", threshold="50 meV", temperature=300,
...                       label_maker=label_maker("emt"))
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onfly.calculators import load_calculator as load_calculator
    from onfly.flows.campaign import CampaignMaker as CampaignMaker
    from onfly.flows.finetune import OnTheFlyMaker as OnTheFlyMaker
    from onfly.flows.production import ProductionMaker as ProductionMaker
    from onfly.flows.searches import OnTheFlyNebMaker as OnTheFlyNebMaker
    from onfly.flows.searches import OnTheFlyRelaxMaker as OnTheFlyRelaxMaker
    from onfly.jobs.classes import ClassUpdateMaker as ClassUpdateMaker
    from onfly.jobs.properties import PropertiesMaker as PropertiesMaker
    from onfly.labels.presets import label_maker as label_maker
    from onfly.library.models import ModelLibrary as ModelLibrary
    from onfly.spec import MDStage as MDStage
    from onfly.spec import RunSpec as RunSpec

__version__ = version("onfly")

_PUBLIC = {
    "CampaignMaker": "onfly.flows.campaign",
    "ClassUpdateMaker": "onfly.jobs.classes",
    "MDStage": "onfly.spec",
    "ModelLibrary": "onfly.library.models",
    "OnTheFlyMaker": "onfly.flows.finetune",
    "OnTheFlyNebMaker": "onfly.flows.searches",
    "OnTheFlyRelaxMaker": "onfly.flows.searches",
    "ProductionMaker": "onfly.flows.production",
    "PropertiesMaker": "onfly.jobs.properties",
    "RunSpec": "onfly.spec",
    "label_maker": "onfly.labels.presets",
    "load_calculator": "onfly.calculators",
}

__all__ = [*sorted(_PUBLIC), "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'onfly' has no attribute {name!r}")
    value = getattr(import_module(_PUBLIC[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
