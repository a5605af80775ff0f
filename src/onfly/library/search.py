"""One search in a collection of the library, by the most telling index."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from maggma.core import Store
from maggma.stores import MongoStore

from onfly.stores import EmbeddedStore

__all__ = ["search"]

# indexed fields, from the one that leaves the fewest documents to the one that leaves the most
_TELLING = (
    "model_id",
    "run_id",
    "formula_pretty",
    "chemsys",
    "campaign",
    "elements",
    "level_of_theory",
    "threshold_ev",
    "coverage",
    "foundation_model",
    "temperature_min",
    "state",
)


def search(
    store: Store,
    criteria: dict[str, Any],
    *,
    properties: Sequence[str] | None = None,
    sort: dict[str, int],
    limit: int = 0,
) -> Iterator[dict[str, Any]]:
    """Yield the documents that match.

    On a server the most telling condition is a stage of its own: MongoDB joins the stages again,
    and servers with a simple planner use an index for one condition only.
    """
    if isinstance(store, EmbeddedStore) or type(store) is not MongoStore:
        fields = None if properties is None else [*properties]
        yield from store.query(criteria, fields, sort=sort, limit=limit)  # type: ignore[arg-type]
        return
    yield from store._collection.aggregate(pipeline(criteria, properties, sort, limit))


def pipeline(
    criteria: dict[str, Any], properties: Sequence[str] | None, sort: dict[str, int], limit: int
) -> list[dict[str, Any]]:
    """Return the stages of a search: most telling condition, the others, sort, limit, fields."""
    first = next((name for name in _TELLING if name in criteria), None)
    stages: list[dict[str, Any]] = []
    if first is not None:
        chosen = criteria[first]
        if isinstance(chosen, dict) and chosen.get("$all"):
            # of several elements an index finds one; which others there are is left to the rest
            stages.append({"$match": {first: chosen["$all"][0]}})
            first = first if len(chosen["$all"]) == 1 and len(chosen) == 1 else None
        else:
            stages.append({"$match": {first: chosen}})
    if rest := {name: value for name, value in criteria.items() if name != first}:
        stages.append({"$match": rest})
    stages.append({"$sort": sort})
    if limit:
        stages.append({"$limit": limit})
    if properties is not None:
        stages.append({"$project": dict.fromkeys(properties, 1)})
    return stages
