"""The scorecard's page: figures by subject, with when each subject was measured. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from scorecard.figure import Figure

_HEAD = "| subject | what | figure | bound | holds |"
_RULE = "| --- | --- | --- | --- | --- |"


@dataclass(frozen=True)
class Measured:
    """A subject's rows as they stand on the page, and when they were measured."""

    moment: str
    rows: tuple[str, ...]

    @classmethod
    def of(cls, figures: Sequence[Figure], moment: str) -> Self:
        """A subject's figures as rows."""
        return cls(moment, tuple(map(_row, figures)))


def page_of(subjects: Mapping[str, Measured]) -> str:
    """The page, subjects in the order given."""
    lines = ["# Scorecard", "", "Every acceptance figure, by `make scorecard`. Measured:", ""]
    lines += [f"- {subject}: {measured.moment}" for subject, measured in subjects.items()]
    lines += ["", _HEAD, _RULE]
    lines += [row for measured in subjects.values() for row in measured.rows]
    return "\n".join(lines) + "\n"


def read_page(lines: Sequence[str]) -> dict[str, Measured]:
    """What a page says, by subject; subjects of which it does not say when are left out."""
    moments: dict[str, str] = {}
    for line in lines:
        subject, colon, moment = line.removeprefix("- ").partition(": ")
        if line.startswith("- ") and colon:
            moments[subject] = moment
    rows: dict[str, list[str]] = {subject: [] for subject in moments}
    for line in lines:
        subject = line.removeprefix("| ").partition(" | ")[0]
        if line.startswith("| ") and line not in (_HEAD, _RULE) and subject in rows:
            rows[subject].append(line)
    return {subject: Measured(moments[subject], tuple(rows[subject])) for subject in moments}


def _row(figure: Figure) -> str:
    cells = (figure.subject, figure.what, figure.figure, figure.bound, figure.verdict)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
