"""snapshot top-50: one lake row of a book with 50 levels a side.

Ours is ``rows.snapshot_row``: the four lists, the top, mid, spread, six depths, status. The limit
is the sorted four lists alone. The peer is order-book (C) listing its top 50. The bound
is what this version keeps: twice the lists, for a row that holds much more than they do. The aim,
15 microseconds on the machine where the lists took 11.5, is 1.3 times.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from benchmarks.harness import Contender, Row, Scale, at_most, import_peer, run_in_turn
from surveillance_collector.rows import Reason, snapshot_row
from surveillance_core.books import DOLLARS, BookState, OrderBook

NAME = "snapshot top-50"
_LEVELS = 50
BOUND = 2.0


def measure(scale: Scale) -> Iterator[Row]:
    """One row: microseconds a book."""
    states = _states(scale.pick(200, 1_000))
    repeats = scale.pick(5, 10)
    reads = len(states) * repeats

    def ours() -> None:
        for at_ns in range(repeats):
            for state in states:
                snapshot_row(state, at_ns, _LEVELS, Reason.CHANGE)

    def limit() -> None:
        for _ in range(repeats):
            for state in states:
                _bare_lists(state.book)

    contenders: dict[str, Contender] = {"limit": lambda: limit, "ours": lambda: ours}
    library = import_peer("order_book")
    if library is not None:
        books = [library.OrderBook() for _ in states]
        for book, state in zip(books, states, strict=True):
            book.bids = {DOLLARS[tick]: size for tick, size in state.book.bids.items()}
            book.asks = {DOLLARS[tick]: size for tick, size in state.book.asks.items()}

        def peer() -> None:
            for _ in range(repeats):
                for book in books:
                    list(zip(*book.bids.to_list()[:_LEVELS], strict=True))
                    list(zip(*book.asks.to_list()[:_LEVELS], strict=True))

        contenders["peer"] = lambda: peer
    timings = run_in_turn(contenders, scale.pick(7, 15))
    yield Row(
        workload=NAME,
        unit="us/book",
        limit=1e6 / timings.rate("limit", reads),
        peer=1e6 / timings.rate("peer", reads) if library is not None else None,
        ours=1e6 / timings.rate("ours", reads),
        note="limit: the four sorted lists alone; the row has six depths, top, mid, status besides",
        **at_most(timings.ratio("limit", "ours"), BOUND, "limit"),  # type: ignore[arg-type]
    )


def _bare_lists(book: OrderBook) -> tuple[list[float], list[float], list[float], list[float]]:
    bids, asks = book.bids, book.asks
    bid_ticks = sorted(bids, reverse=True)[:_LEVELS]
    ask_ticks = sorted(asks)[:_LEVELS]
    return (
        [DOLLARS[tick] for tick in bid_ticks],
        [bids[tick] for tick in bid_ticks],
        [DOLLARS[tick] for tick in ask_ticks],
        [asks[tick] for tick in ask_ticks],
    )


def _states(count: int) -> list[BookState]:
    rng = Random(3)
    states: list[BookState] = []
    for number in range(count):
        mid = rng.randrange(2_000, 8_000, 10)
        steps = [rng.sample(range(1, 120), _LEVELS) for _ in range(2)]
        state = BookState(f"market-{number}", f"outcome-{number}", 10)
        state.book = OrderBook(
            {mid - 10 * step: float(rng.randint(5, 9_999)) for step in steps[0]},
            {mid + 10 * step: float(rng.randint(5, 9_999)) for step in steps[1]},
        )
        states.append(state)
    return states
