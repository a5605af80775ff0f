"""Ways to spoil a file: bytes flipped, cut, doubled; values swapped for others."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from typing import Any

import yaml
from hypothesis import strategies as st

__all__ = ["mutations"]

# applied to the content of a file
Mutation = Callable[[bytes], bytes]

_WORDS = st.sampled_from(
    ["", "a", "null", "NaN", "-1", "1e999", "../x", "\0", "é", "os.system", "300 K", "[", "{a: *a}"]
)
_SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), _WORDS, st.integers(-3, 3)
)  # fmt: skip
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
_PLACES = st.floats(0.0, 1.0, exclude_max=True)


def _at(data: bytes, place: float) -> int:
    return int(place * len(data))


def _flips(places: list[tuple[float, int]]) -> Mutation:
    def apply(data: bytes) -> bytes:
        changed = bytearray(data)
        for place, bit in places:
            if changed:
                changed[_at(data, place)] ^= 1 << bit
        return bytes(changed)

    return apply


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from _leaves(value[key], (*path, key))


def _swap(place: float, value: Any, gone: bool) -> Mutation:
    def apply(data: bytes) -> bytes:
        text = data.decode()
        is_json = text.lstrip().startswith(("{", "["))
        lines = text.splitlines()
        # a file of lines is spoilt in one of them
        number = _at(data, place) % max(len(lines), 1) if text.startswith("{") else 0
        whole = not is_json or len(lines) == 1 or lines[0] == "{"
        source = text if whole else lines[number]
        content = copy.deepcopy(json.loads(source) if is_json else yaml.safe_load(source))
        paths = list(_leaves(content))
        if not paths:
            return data
        *above, last = paths[int(place * len(paths))]
        target = content
        for key in above:
            target = target[key]
        if gone:
            del target[last]
        else:
            target[last] = value
        changed = json.dumps(content) if is_json else yaml.safe_dump(content)
        if not whole:
            lines[number] = changed
            changed = "\n".join(lines)
        return changed.encode("utf-8", errors="replace")

    return apply


def mutations() -> st.SearchStrategy[Mutation]:
    """Return a strategy of functions from the content of a file to what is left of it."""
    return st.one_of(
        st.lists(st.tuples(_PLACES, st.integers(0, 7)), min_size=1, max_size=8).map(_flips),
        _PLACES.map(lambda place: lambda data: data[: _at(data, place)]),
        _PLACES.map(lambda place: lambda data: data[_at(data, place) :]),
        st.tuples(_PLACES, st.binary(max_size=30)).map(
            lambda t: lambda data: data[: _at(data, t[0])] + t[1] + data[_at(data, t[0]) :]
        ),
        st.tuples(_PLACES, _PLACES).map(
            lambda t: lambda data: data[: _at(data, t[0])] + data[_at(data, t[1]) :]
        ),
        st.tuples(_PLACES, _VALUES, st.booleans()).map(lambda t: _swap(*t)),
        st.tuples(_PLACES, _VALUES, st.just(False)).map(lambda t: _swap(*t)),
        st.binary(max_size=40).map(lambda content: lambda data: content),
    )
