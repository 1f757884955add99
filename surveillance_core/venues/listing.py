"""Tolerant reading of a venue's listing: what is unreadable is counted, never guessed, never fatal.

Pure: parsed JSON in, plain values out.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, cast

Json = Mapping[str, object]

SPELLINGS_KEPT: Final = 20
"""Distinct unknown values of one member that are counted under their own name."""

NAMES_KEPT: Final = 100
"""Distinct unknown members of one kind of object that are counted under their own name."""

GONE_AFTER: Final = 200
"""Objects that must lack a member, all of them, before it is taken to be gone."""

_NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_ODD: Final = re.compile(r"[^A-Za-z0-9_.+-]")


class SetAside(Exception):
    """A market that cannot enter the universe; the argument is the reason it is counted under."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def hash_rules(text: str) -> str:
    """Identity of a rules text as fetched: BLAKE2b-128, hexadecimal."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def as_object(value: object) -> Json | None:
    """The value if it is a JSON object."""
    return cast("Json", value) if isinstance(value, dict) else None


def as_list(value: object) -> list[object] | None:
    """The value if it is a JSON array."""
    return cast("list[object]", value) if isinstance(value, list) else None


def encodable(text: str) -> bool:
    """Whether UTF-8, and so a file, can hold the text: JSON may spell a lone surrogate."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class MemberReader:
    """Reads optional members of listing objects; what cannot be read is counted as an oddity.

    Parameters
    ----------
    oddities
        Counted into, by member and cause.
    """

    def __init__(self, oddities: Counter[str]) -> None:
        self.oddities = oddities
        self._spellings: dict[str, set[str]] = {}

    def text(self, source: Json, name: str) -> str | None:
        """Text as listed, None if absent or empty; what UTF-8 cannot hold is replaced."""
        value = source.get(name)
        if value is None or value == "":
            return None
        if not isinstance(value, str):
            self.oddities[f"{name}_not_text"] += 1
            return None
        try:
            value.encode()
        except UnicodeEncodeError:
            self.oddities[f"{name}_not_unicode"] += 1
            return value.encode("utf-8", "replace").decode()
        return value

    def number(self, source: Json, *names: str) -> float | None:
        """The first finite number of several spellings of one member, a number or its text."""
        for name in names:
            value = source.get(name)
            if value is None or value == "":
                continue
            number = as_number(value)
            if number is not None:
                return number
            self.oddities[f"{name}_not_a_number"] += 1
        return None

    def moment(self, source: Json, name: str) -> datetime | None:
        """A time in UTC; without a zone it is taken to be UTC."""
        value = source.get(name)
        if value is None or value == "":
            return None
        try:
            if not isinstance(value, str):
                raise ValueError(name)  # noqa: TRY004 - all that is unreadable ends in one place
            moment = datetime.fromisoformat(value)
            return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        except (ValueError, OverflowError):
            self.oddities[f"{name}_not_a_time"] += 1
            return None

    def flag(self, source: Json, name: str) -> bool | None:
        """True or false, None if absent."""
        value = source.get(name)
        if value is None or isinstance(value, bool):
            return value
        self.oddities[f"{name}_not_a_flag"] += 1
        return None

    def count_unknown(self, name: str, value: object) -> None:
        """Count a value that this version does not know, under its own (cleaned) spelling.

        A list or an object is counted as such: it has no spelling of its own, and no end.
        """
        spelled = str(value) if isinstance(value, str | int | float) else type(value).__name__
        spelling = _ODD.sub("?", spelled[:40])
        kept = self._spellings.setdefault(name, set())
        if spelling not in kept and len(kept) >= SPELLINGS_KEPT:
            spelling = "other"
        else:
            kept.add(spelling)
        self.oddities[f"{name}_unknown:{spelling}"] += 1


class MemberWatch:
    """Notices members of listed objects that come and go: the venue's interface is moving.

    Parameters
    ----------
    kind
        What the objects are, to name their members by: ``event``, ``market``.
    known
        Members this version knows of, used or not.
    used
        Members it reads, of which a listing without any is news.
    """

    def __init__(self, kind: str, known: frozenset[str], used: frozenset[str]) -> None:
        self._kind = kind
        self._known = known | used
        self._unseen = set(used)
        self._looked = 0
        self.unknown: Counter[str] = Counter()
        """Objects with a member this version does not know, by the member's name."""

    def look(self, item: Json) -> None:
        """Take note of one object's members."""
        self._looked += 1
        if self._unseen:
            self._unseen -= item.keys()
        for name in item.keys() - self._known:
            spelled = f"{self._kind}.{_ODD.sub('?', name)[:60]}"
            if spelled not in self.unknown and len(self.unknown) >= NAMES_KEPT:
                spelled = f"{self._kind}.other"
            self.unknown[spelled] += 1

    @property
    def gone(self) -> list[str]:
        """Members that are read and that none of many objects had."""
        if self._looked < GONE_AFTER:
            return []
        return sorted(f"{self._kind}.{name}" for name in self._unseen)


def as_number(value: object) -> float | None:
    """A finite number given as a number or as decimal text, else None.

    Examples
    --------
    >>> as_number("12.50"), as_number("NaN"), as_number("1_000"), as_number(True)
    (12.5, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if abs(number) < float("inf") else None
