"""All labels of a posterior, in the order in which they came: counters and verdicts read it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from onfly.proof.records import Learned, LedgerEntry, Record, from_line, to_line

__all__ = ["Ledger"]


@dataclass(frozen=True)
class Ledger:
    """Append-only record of labels and of what was learned from them.

    Nothing else is stored about them: how many calls and audits there were, which are learned,
    what is proven, is read from here.

    Attributes
    ----------
    entries
        One per label; ``entries[i].index == i``.
    learnings
        One per update of the weights, generations ascending.

    Raises
    ------
    ValueError
        If an entry or an update does not follow from those before it.

    Examples
    --------
    >>> ledger = Ledger().append(LedgerEntry(index=0, trajectory=0, step=0, reason="initial"))
    >>> ledger = ledger.learned(generation=0, n_labels=1)
    >>> ledger = ledger.append(LedgerEntry(index=1, trajectory=0, step=40, reason="audit",
    ...                                    generation=0, errors={"energy": 0.2}))
    >>> ledger.n_labels, len(ledger.audits), len(ledger.unlearned)
    (2, 1, 1)
    >>> ledger.generation_that_learned(0), ledger.generation_that_learned(1)
    (0, None)
    """

    entries: tuple[LedgerEntry, ...] = ()
    learnings: tuple[Learned, ...] = ()

    def append(self, entry: LedgerEntry) -> Ledger:
        """Return the ledger with one more entry.

        Raises
        ------
        ValueError
            The entry does not follow the last one, or would make a closing block worthless: an
            older block, a step that was drawn already, other weights than the rest of the block.
        """
        if entry.index != self.n_labels:
            raise ValueError(
                f"entry {entry.index} cannot follow {self.n_labels} entries: the next index is "
                f"{self.n_labels}, and entries are never replaced"
            )
        if entry.reason == "closing":
            self._check_closing(entry)
        return replace(self, entries=(*self.entries, entry))

    def learned(self, generation: int, n_labels: int) -> Ledger:
        """Return the ledger with the note that a generation learned the first `n_labels` labels.

        Raises
        ------
        ValueError
            The generation is not newer than the last one, or it learned fewer labels than that one,
            or more than there are.
        """
        last = self.learnings[-1] if self.learnings else Learned(generation=0, n_labels=0)
        if self.learnings and generation <= last.generation:
            raise ValueError(f"generation {generation} is not newer than {last.generation}")
        if not last.n_labels <= n_labels <= self.n_labels:
            raise ValueError(
                f"generation {generation} cannot have learned {n_labels} labels: the generation "
                f"before learned {last.n_labels}, and there are {self.n_labels}"
            )
        note = Learned(generation=generation, n_labels=n_labels)
        return replace(self, learnings=(*self.learnings, note))

    def _check_closing(self, entry: LedgerEntry) -> None:
        attempt, begun = entry.attempt, self.n_attempts
        if attempt not in (begun - 1, begun):
            raise ValueError(
                f"closing block {attempt} cannot follow {begun} blocks: go on with block "
                f"{max(begun - 1, 0)} or begin block {begun}"
            )
        for other in self.closing(attempt):
            if other.generation != entry.generation:
                raise ValueError(
                    f"closing block {attempt} tests generation {other.generation}, but entry "
                    f"{entry.index} was predicted by generation {entry.generation}: begin a new "
                    "block after the weights have changed"
                )
            if (other.trajectory, other.step) == (entry.trajectory, entry.step):
                raise ValueError(
                    f"step {entry.step} of trajectory {entry.trajectory} is already in closing "
                    f"block {attempt}: steps are drawn without replacement"
                )

    @property
    def n_labels(self) -> int:
        """Number of entries."""
        return len(self.entries)

    @property
    def generation(self) -> int:
        """The newest generation that has learned, -1 before the first."""
        return self.learnings[-1].generation if self.learnings else -1

    @property
    def n_learned(self) -> int:
        """Number of labels that the newest generation has learned."""
        return self.learnings[-1].n_labels if self.learnings else 0

    @property
    def calls(self) -> tuple[LedgerEntry, ...]:
        """Entries that stopped the MD: the model was unsure, warming up, or in danger."""
        return self.of("uncertain", "warmup", "guard")

    @property
    def audits(self) -> tuple[LedgerEntry, ...]:
        """Entries at random steps during the run; those of closing blocks are apart."""
        return self.of("audit")

    @property
    def unlearned(self) -> tuple[LedgerEntry, ...]:
        """Entries that the newest generation has not learned."""
        return self.entries[self.n_learned :]

    @property
    def n_unlearned(self) -> int:
        """Number of entries that the newest generation has not learned."""
        return self.n_labels - self.n_learned

    @property
    def n_attempts(self) -> int:
        """Number of closing blocks that have at least one entry."""
        for entry in reversed(self.entries):  # blocks follow one another, so the last is enough
            if entry.reason == "closing" and entry.attempt is not None:
                return entry.attempt + 1
        return 0

    def of(self, *reasons: str) -> tuple[LedgerEntry, ...]:
        """Return the entries with one of these reasons."""
        return tuple(entry for entry in self.entries if entry.reason in reasons)

    def counts(self) -> dict[str, int]:
        """Return the number of entries per reason that occurs."""
        return dict(Counter(entry.reason for entry in self.entries))

    def closing(self, attempt: int | None = None) -> tuple[LedgerEntry, ...]:
        """Return the audits of one closing block; of the latest one if `attempt` is None."""
        wanted = self.n_attempts - 1 if attempt is None else attempt
        return tuple(e for e in self.of("closing") if e.attempt == wanted)

    def generation_that_learned(self, index: int) -> int | None:
        """Return the first generation that learned entry `index`, None if none has."""
        if not 0 <= index < self.n_labels:
            raise IndexError(f"there is no entry {index} among {self.n_labels}")
        for note in self.learnings:
            if index < note.n_labels:
                return note.generation
        return None

    def within(self, entry: LedgerEntry | int) -> bool:
        """Whether an entry, or the entry of an index, kept all tolerances."""
        found = self.entries[entry] if isinstance(entry, int) else entry
        return found.within()

    def records(self) -> Iterator[Record]:
        """Yield all records in an order in which they can be appended again."""
        notes = list(self.learnings)
        for entry in self.entries:
            while notes and notes[0].n_labels <= entry.index:
                yield notes.pop(0)
            yield entry
        yield from notes

    def add(self, record: Record) -> Ledger:
        """Return the ledger with one more record of either kind."""
        if isinstance(record, Learned):
            return self.learned(record.generation, record.n_labels)
        return self.append(record)

    def to_lines(self) -> tuple[str, ...]:
        """Return one line of JSON per record."""
        return tuple(to_line(record) for record in self.records())

    @classmethod
    def from_lines(cls, lines: Iterable[str]) -> Ledger:
        """Return the ledger of lines of JSON; empty lines are skipped.

        Raises
        ------
        ValueError
            A line is no record, or does not follow the ones before it. The number of the line,
            from 1, is in the message.
        """
        ledger = cls()
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                ledger = ledger.add(from_line(line))
            except ValueError as error:
                raise ValueError(f"line {number} of the ledger: {error}") from error
        return ledger
