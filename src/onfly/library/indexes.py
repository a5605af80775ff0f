"""Indexes of the collections, so that every query of the library is a look-up, not a scan."""

from __future__ import annotations

from collections.abc import Sequence

from maggma.core import Store

from onfly.stores import EmbeddedStore

__all__ = ["LABEL_INDEXES", "MODEL_INDEXES", "OUTPUT_INDEXES", "RUN_INDEXES", "ensure_indexes"]

Index = tuple[tuple[str, int], ...]

# the newest model first: the second field gives the order, so that a limit ends the walk early
MODEL_INDEXES: tuple[Index, ...] = (
    (("model_id", 1),),
    (("created_at", -1),),
    *(
        ((name, 1), ("created_at", -1))
        for name in (
            "formula_pretty",
            "chemsys",
            "elements",
            "foundation_model",
            "level_of_theory",
            "campaign",
            "state",
            "run_id",
        )
    ),
    (("threshold_ev", 1),),
    (("coverage", 1),),
    (("temperature_min", 1), ("temperature_max", 1)),
    (("source.completed_at", -1),),
)
LABEL_INDEXES: tuple[Index, ...] = (
    (("label_id", 1),),
    (("run_id", 1), ("index", 1)),
    (("formula_pretty", 1),),
    (("chemsys", 1),),
    (("elements", 1),),
    (("input_hash", 1),),
    (("campaign", 1),),
    (("source.completed_at", -1),),
)
RUN_INDEXES: tuple[Index, ...] = (
    (("run_id", 1),),
    (("campaign", 1), ("phase", 1)),
    (("formula_pretty", 1),),
    (("updated_at", -1),),
    (("source.completed_at", -1),),
)
# jobflow creates none on its outputs; the builders look for these
OUTPUT_INDEXES: tuple[Index, ...] = (
    (("uuid", 1), ("index", 1)),
    (("output.doc_type", 1), ("completed_at", 1)),
    (("metadata.onfly.run_id", 1),),
)


def ensure_indexes(store: Store, indexes: Sequence[Index], unique: str | None = None) -> None:
    """Create the indexes of a connected store, unless they are there.

    Parameters
    ----------
    store
        A MongoStore or an embedded store.
    indexes
        Fields and directions.
    unique
        Field whose values must differ.
    """
    for index in indexes:
        options = {"unique": True} if index[0][0] == unique and len(index) == 1 else {}
        target = store if isinstance(store, EmbeddedStore) else store._collection
        target.create_index(list(index), **options)
