"""Labels kept once: files named by what they hold, with checksums.

```
<root>/objects/<two digits>/<key>.json        one label, written once, never changed
<root>/index/<input hash>/<formula>/<structure hash>.<energy key>    holds the key of a label
<root>/<energy key>/<input hash>/<formula>/<structure hash>.json     version 0.1, read only
```

The key is the sha256 of what a label says of nature (`label_key`), so that two processes that put
the same label write the same file, and a run that is resumed on another machine gets the same
keys. Each file also holds a checksum of every field, of which a changed one is named.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pydantic import ValidationError
from pymatgen.core import Molecule, Structure

from onfly.artifacts.atomic import atomic_create, atomic_write
from onfly.artifacts.damage import Problem
from onfly.labels.errors import DamagedLabelError, LabelError, MissingLabelError
from onfly.labels.stored import checksums, label_key, stored_fields
from onfly.schemas import LabelDoc, structure_hash

__all__ = ["LabelStore"]

logger = logging.getLogger(__name__)

_FORMAT = "onfly label 1"
_OBJECTS, _INDEX = "objects", "index"
_REMEDY = (
    "it is not used; `put` the same label again, or delete the file: the label is then computed "
    "anew when it is needed"
)


class LabelStore:
    """Labels of all runs in one directory.

    Parameters
    ----------
    root
        Directory; it is made with the first label.

    Raises
    ------
    MissingLabelError, DamagedLabelError
        By `get`: there is no such label, or its content is not what was written.

    Examples
    --------
    >>> from onfly.testing.models import toy_label
    >>> store = LabelStore("labels")
    >>> key = store.put(toy_label())
    >>> store.get(key).energy == toy_label().energy
    True
    >>> store.get("0" * 64)
    Traceback (most recent call last):
        ...
    onfly.labels.errors.MissingLabelError: there is no label 000000000000 in labels
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    # -- write ------------------------------------------------------------------------------
    @staticmethod
    def key_of(label: LabelDoc) -> str:
        """Return the key under which `put` writes a label; errors as of `put`."""
        return label_key(stored_fields(label))

    def put(self, label: LabelDoc) -> str:
        """Write a label durably and return its key; a label that is there stays as it is.

        Two processes may put the same label at once. A damaged file of this label is replaced.

        Parameters
        ----------
        label
            What belongs to a run (reason, step, predictions) is left out.

        Raises
        ------
        LabelError
            If an energy, force or stress is not finite.
        OSError
            If it cannot be written.
        """
        fields = stored_fields(label)
        key = label_key(fields)
        document = {
            "format": _FORMAT,
            "key": key,
            "checksums": checksums(fields),
            "label": fields,
        }
        path = self._path(key)
        data = (json.dumps(document, sort_keys=True, allow_nan=False) + "\n").encode()
        # most labels are put twice, by their job and by the round that judges them
        problem = self._damage(key)
        if isinstance(problem, MissingLabelError):
            try:
                atomic_create(path, data)
                problem = None
            except FileExistsError:  # another process was faster
                problem = self._damage(key)
        if problem is not None:
            logger.warning("%s is replaced: %s", path, problem)
            atomic_write(path, data)
        self._index(label, key)
        return key

    def _index(self, label: LabelDoc, key: str) -> None:
        if label.input_hash is None:
            return  # its settings are lost, so it can never stand for another one
        entry = self._entry(
            label.structure, label.structure_hash, label.input_hash, label.energy_key
        )
        if _read_text(entry) == key:
            return
        try:
            atomic_create(entry, key.encode())
        except FileExistsError:
            # the first label of a configuration stays, as long as it is sound
            first = _read_text(entry)
            if first != key and (first is None or self._damage(first)):
                atomic_write(entry, key.encode())

    # -- read -------------------------------------------------------------------------------
    def get(self, key: str) -> LabelDoc:
        """Return a label after comparing it with its checksums.

        Raises
        ------
        MissingLabelError
            If there is none with this key.
        DamagedLabelError
            If it is not what was written, naming what was changed.
        """
        path = self._path(key)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise MissingLabelError(f"there is no label {key[:12]} in {self.root}") from None
        try:
            document = json.loads(data)
            fields, sums = document["label"], document["checksums"]
            if document["format"] != _FORMAT:
                raise DamagedLabelError(
                    f"{path} has the unknown format {document['format']!r}",
                    remedy="a newer version of onfly may have written it",
                )
            computed = checksums(fields)
            changed = [k for k in sorted({*computed, *sums}) if computed.get(k) != sums.get(k)]
            found = label_key(fields)
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise DamagedLabelError(
                f"{path} is damaged: it is no label ({type(error).__name__})", remedy=_REMEDY
            ) from error
        if changed or found != key or document.get("key") != key:
            what = ", ".join(changed) or "name"
            raise DamagedLabelError(
                f"{path} is damaged: {what} changed since it was written", remedy=_REMEDY
            )
        try:
            return LabelDoc.model_validate(fields)
        except ValidationError as error:
            raise DamagedLabelError(
                f"{path} cannot be read: {error.error_count()} fields do not fit",
                remedy="another version of onfly may have written it",
            ) from error

    def find(
        self, structure_hash: str, input_hash: str, energy_key: str | None = None
    ) -> str | None:
        """Return the key of a sound label of a configuration with these settings, or None.

        Labels of version 0.1 are taken over into the store when they are found.

        Parameters
        ----------
        structure_hash
            See `onfly.schemas.structure_hash`; charge, spin and moments count.
        input_hash
            Settings of the calculation.
        energy_key
            Which energy. A label whose code knows only one (``"energy"``) fits any; None takes
            any label.
        """
        wanted = None if energy_key is None else (energy_key, "energy")
        # the formula is not known here, and there is one for each compound of these settings
        pattern = f"*/{structure_hash[:32]}.*"
        entries = sorted((self.root / _INDEX / input_hash[:32]).glob(pattern))
        entries = [e for e in entries if wanted is None or _energy_key(e) in wanted]
        if wanted is not None:
            entries.sort(key=lambda entry: wanted.index(_energy_key(entry)))
        for entry in entries:
            if (label := self._sound(_read_text(entry))) is not None:
                key, doc = label
                if doc.structure_hash == structure_hash and doc.input_hash == input_hash:
                    return key
        return self._adopt(structure_hash, input_hash, energy_key)

    def labels_of(
        self, structure: Structure | Molecule, input_hash: str, energy_key: str | None = None
    ) -> list[LabelDoc]:
        """Return all sound labels of a compound and cell size with these settings, oldest first.

        Parameters
        ----------
        structure
            Any configuration of it: composition and number of atoms count.
        input_hash, energy_key
            As for `find`.
        """
        wanted = None if energy_key is None else (energy_key, "energy")
        folder = self.root / _INDEX / input_hash[:32] / _formula(structure)
        found = []
        for entry in sorted(folder.glob("[!.]*")):
            if wanted is not None and _energy_key(entry) not in wanted:
                continue
            label = self._sound(_read_text(entry))
            if label is not None and label[1].input_hash == input_hash:
                found.append(label[1])
        return sorted(found, key=lambda label: (label.created_at, label.structure_hash))

    def keys(self) -> Iterator[str]:
        """Yield the keys of all labels in order, damaged ones included."""
        for path in sorted((self.root / _OBJECTS).glob("[0-9a-f][0-9a-f]/[!.]*.json")):
            yield path.stem

    def __contains__(self, key: str) -> bool:
        """Whether there is a sound label with this key."""
        return self._damage(key) is None

    # -- care -------------------------------------------------------------------------------
    def verify(self) -> list[str]:
        """Check every label and every entry of the index.

        Returns
        -------
        list of str
            One sentence for each problem, with the file; empty if all is sound.
        """
        return [f"{p.where} {p.message}; remedy: {p.remedy}" for p in self.problems()]

    def problems(self) -> list[Problem]:
        """Return what `verify` says in parts."""
        problems = []
        for key in self.keys():
            error = self._damage(key)
            if error is not None:
                path = str(self._path(key))
                message = error.reason.removeprefix(path).lstrip()
                problems.append(Problem(path, message, error.remedy or _REMEDY))
        for entry in sorted((self.root / _INDEX).glob("*/*/[!.]*")):
            held = _read_text(entry)
            if held is None or not self._path(held).is_file():
                remedy = "delete the file, or `reindex`"
                problems.append(Problem(str(entry), "leads to no label", remedy, "warning"))
        for old in self._old_files("*", "*", "*"):
            if _read_old(old) is None:
                message = "of version 0.1 is damaged: it is no label"
                problems.append(Problem(str(old), message, "delete the file"))
        return problems

    def reindex(self) -> int:
        """Build the index anew from the sound labels and return their number."""
        for entry in sorted((self.root / _INDEX).glob("*/*/[!.]*")):
            entry.unlink()
        sound = [found for key in self.keys() if (found := self._sound(key)) is not None]
        for key, label in sorted(sound, key=lambda item: (item[1].created_at, item[0])):
            self._index(label, key)
        return len(sound)

    def _damage(self, key: str) -> LabelError | None:
        try:
            self.get(key)
        except LabelError as error:
            return error
        except OSError as error:
            return LabelError(f"label {key[:12]} cannot be read: {error}")
        return None

    def _sound(self, key: str | None) -> tuple[str, LabelDoc] | None:
        if key is None:
            return None
        try:
            return key, self.get(key)
        except (LabelError, OSError) as error:
            logger.warning("%s", error)
            return None

    # -- version 0.1 ------------------------------------------------------------------------
    def _old_files(self, energy_key: str, input_hash: str, configuration: str) -> list[Path]:
        pattern = f"{energy_key}/{input_hash}/*/{configuration}.json"
        own = {_OBJECTS, _INDEX}
        return sorted(
            path
            for path in self.root.glob(pattern)
            if path.relative_to(self.root).parts[0] not in own and not path.name.startswith(".")
        )

    def _adopt(self, structure_hash: str, input_hash: str, energy_key: str | None) -> str | None:
        """Take a label of version 0.1 over; its folder says which energy was asked for."""
        for path in self._old_files(energy_key or "*", input_hash[:32], structure_hash[:32]):
            label = _read_old(path)
            if (
                label is not None
                and label.structure_hash == structure_hash
                and label.input_hash == input_hash
            ):
                logger.info("label of version 0.1 taken over: %s", path)
                asked_for = path.relative_to(self.root).parts[0]
                if label.energy_key == "energy" and asked_for == "e_0_energy":
                    # where version 0.1 put the one that smearing makes differ
                    label = label.model_copy(update={"energy_key": "e_0_energy"})
                return self.put(label)
        return None

    # -- paths ------------------------------------------------------------------------------
    def _path(self, key: str) -> Path:
        # keys come from files and ledgers: one that is no hash must not lead out of the store
        if len(key) != 64 or not set(key) <= set("0123456789abcdef"):
            raise MissingLabelError(f"{key[:80]!r} is no key of a label")
        return self.root / _OBJECTS / key[:2] / f"{key}.json"

    def _entry(
        self, structure: Structure | Molecule, configuration: str, input_hash: str, energy_key: str
    ) -> Path:
        folder = self.root / _INDEX / input_hash[:32] / _formula(structure)
        return folder / f"{configuration[:32]}.{energy_key}"


def _formula(structure: Structure | Molecule) -> str:
    amounts = structure.composition.get_el_amt_dict()
    return "".join(f"{symbol}{amounts[symbol]:g}" for symbol in sorted(amounts))


def _energy_key(entry: Path) -> str:
    return entry.name.partition(".")[2]


def _read_text(path: Path) -> str | None:
    try:
        text = path.read_text().strip()
    except (OSError, ValueError):
        return None
    # a damaged entry leads nowhere
    return text if len(text) == 64 and set(text) <= set("0123456789abcdef") else None


def _read_old(path: Path) -> LabelDoc | None:
    """Read a file of version 0.1, which has no checksum: what can be checked must fit."""
    try:
        label = LabelDoc.model_validate_json(path.read_bytes())
        numbers = [label.energy, *np.ravel(label.forces)]
        sound = (
            bool(np.isfinite(numbers).all())
            and np.shape(label.forces) == (len(label.structure), 3)
            and structure_hash(label.structure) == label.structure_hash
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        sound = False
    if not sound:
        logger.warning("%s is no label", path)
        return None
    return label
