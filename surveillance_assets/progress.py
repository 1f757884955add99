"""Who hears of a scan's pages: the command that runs it in this process, and nobody elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar

PageListener = Callable[[int, int], None]
"""Called after each page with pages read and markets seen so far."""

_listener: ContextVar[PageListener | None] = ContextVar("page_listener", default=None)


@contextmanager
def listening(listener: PageListener) -> Generator[None]:
    """Have a scan in this process tell the listener of each page."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def tell_page(pages: int, markets: int) -> None:
    """Tell whoever listens of a page."""
    listener = _listener.get()
    if listener is not None:
        listener(pages, markets)
