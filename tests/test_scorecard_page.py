"""The scorecard's page keeps what it says of the subjects that are not measured again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from scorecard.figure import Figure
from scorecard.page import Measured, page_of, read_page

_cells = st.text(
    st.characters(codec="utf-8", exclude_characters="\r\n\x85\u2028\u2029\x0b\x0c\x1c\x1d\x1e")
)
_figures = st.lists(
    st.builds(
        Figure, st.just("a subject"), _cells, _cells, _cells, st.sampled_from([True, False, None])
    ),
    max_size=5,
)


@given(_figures, _figures)
def test_a_page_that_is_read_is_the_page_that_was_written(
    ours: list[Figure], theirs: list[Figure]
) -> None:
    others = [Figure("another", f.what, f.figure, f.bound, f.holds) for f in theirs]
    found = {
        "a subject": Measured.of(ours, "2026-09-01, commit abc"),
        "another": Measured.of(others, "2026-09-02, commit def"),
    }
    page = page_of(found)
    assert read_page(page.splitlines()) == found
    assert page_of(read_page(page.splitlines())) == page


def test_a_page_that_does_not_say_when_is_not_kept() -> None:
    assert (
        read_page(["# Scorecard", "", "| subject | what |", "| checks | lint | 0 | 0 | yes |"])
        == {}
    )
