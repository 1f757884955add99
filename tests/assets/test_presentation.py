"""Venue text shown to people is inert."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from surveillance_assets.presentation import markdown_table, markdown_text


def test_markup_images_and_links_are_escaped() -> None:
    shown = markdown_text("![x](http://e.test/p.png) <script>alert(1)</script> a|b")
    assert "<" not in shown
    assert "\\!\\[x\\]" in shown
    assert "a\\|b" in shown


def test_direction_and_control_characters_go() -> None:
    assert markdown_text("a\u202eb\u200bc\x00d\ne") == "a b c d e"


@given(st.text(max_size=400))
def test_no_text_breaks_a_table_or_leaves_a_tag(text: str) -> None:
    table = markdown_table([{"title": text}], ["title"])
    lines = table.split("\n")
    assert len(lines) == 3
    cell = lines[2].removeprefix("| ").removesuffix(" |")
    assert not re.search(r"(?<!\\)(?:\\\\)*\|", cell), "an unescaped column border"
    assert "<" not in cell


def test_long_titles_are_cut() -> None:
    assert len(markdown_text("x" * 10_000)) == 200
