"""Venue text and tables for people: escaped wherever they are shown. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_MARKUP = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|&~])")


def markdown_text(text: str, limit: int = 200) -> str:
    r"""Venue text as inert Markdown: no markup, links, images, control or direction marks.

    Examples
    --------
    >>> markdown_text("![x](http://e.test/p.png) <b>|")
    '\\!\\[x\\]\\(http://e\\.test/p\\.png\\) &lt;b&gt;\\|'
    """
    # what is not printable is control, direction, or a space of a kind that may break a line
    clean = re.sub("\0+", " ", "".join(c if c.isprintable() else "\0" for c in text))
    if len(clean) > limit:
        clean = clean[: limit - 1] + "…"
    escaped = _MARKUP.sub(r"\\\1", clean)
    return escaped.replace("\\&", "&amp;").replace("\\<", "&lt;").replace("\\>", "&gt;")


def markdown_table(rows: Sequence[Mapping[str, object]], columns: Sequence[str]) -> str:
    """A Markdown table of some columns of some rows; every text in it is escaped."""
    head = "| " + " | ".join(columns) + " |"
    rule = "|" + " --- |" * len(columns)
    body = ["| " + " | ".join(_cell(row.get(column)) for column in columns) + " |" for row in rows]
    return "\n".join([head, rule, *body])


def _cell(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.4g}"
    if isinstance(value, int):
        return f"{value:,}"
    return markdown_text(str(value), limit=80)
