"""A connection whose reading pauses: from when on it is late, and until when."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

import pytest

from surveillance_collector.backlog import LATE_SECONDS, PATIENCE_SECONDS, Backlog
from tests.faults.virtual_time import VirtualTimeLoop

SINCE_NS = 77


class Line:
    """A connection and a venue that answers each question after so many seconds, in order."""

    def __init__(self, *delays: float) -> None:
        self.delays = list(delays)
        self.told: list[tuple[str, float]] = []
        self.failures: list[BaseException] = []
        self.asked = 0
        self.broken = False
        self.backlog = Backlog(
            "c1",
            self,
            lambda: 99,
            ask=self._ask,
            lost=lambda since_ns: self._tell(f"lost since {since_ns}"),
            failed=self.failures.append,
        )

    async def _ask(self) -> None:
        self.asked += 1
        if self.delays:
            loop = asyncio.get_running_loop()
            loop.call_later(self.delays.pop(0), self.backlog.note_answer)

    def hold_up(self, conn: str, since_ns: int, recv_ns: int) -> None:
        if self.broken:
            raise RuntimeError("a defect")
        assert (conn, since_ns, recv_ns) == ("c1", SINCE_NS, 99)
        self._tell("held up")

    def catch_up(self, conn: str, recv_ns: int) -> None:
        assert (conn, recv_ns) == ("c1", 99)
        self._tell("caught up")

    def _tell(self, what: str) -> None:
        self.told.append((what, round(asyncio.get_running_loop().time(), 1)))


def _run(scene: Callable[[], Coroutine[None, None, None]]) -> None:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(scene())


def test_a_pause_that_is_over_soon_is_not_told_of() -> None:
    async def scene() -> None:
        line = Line(LATE_SECONDS - 0.1)
        line.backlog.pause(SINCE_NS)
        await asyncio.sleep(10)
        assert (line.told, line.asked, line.backlog.asking) == ([], 1, False)

    _run(scene)


def test_late_books_are_doubted_until_an_answer_comes_in_time() -> None:
    async def scene() -> None:
        line = Line(5.0, 1.0, 0.1)
        line.backlog.pause(SINCE_NS)
        await asyncio.sleep(1)
        assert line.backlog.held_up
        await asyncio.sleep(10)
        assert line.told == [("held up", LATE_SECONDS), ("caught up", 6.1)]
        assert not line.backlog.held_up
        # the next pause is one of its own
        line.delays = [1.0, 0.0]
        line.backlog.pause(SINCE_NS)
        await asyncio.sleep(5)
        assert [what for what, _ in line.told[2:]] == ["held up", "caught up"]

    _run(scene)


def test_many_short_pauses_add_up() -> None:
    async def scene() -> None:
        # each pause is short, and what comes meanwhile is never quite read
        line = Line(2.0, 2.0, 0.0)
        for _ in range(15):
            line.backlog.pause(SINCE_NS)
            await asyncio.sleep(0.2)
            line.backlog.go_on()
        await asyncio.sleep(5)
        assert line.told == [("held up", LATE_SECONDS), ("caught up", 4.0)]

    _run(scene)


def test_an_answer_proves_nothing_of_a_pause_that_came_after_the_question() -> None:
    async def scene() -> None:
        line = Line(0.2, 3.0, 0.0)
        line.backlog.pause(SINCE_NS)
        await asyncio.sleep(0.1)
        line.backlog.go_on()
        line.backlog.pause(SINCE_NS)
        await asyncio.sleep(10)
        assert line.told == [("held up", 0.7), ("caught up", 3.2)]

    _run(scene)


def test_the_answer_to_an_earlier_ping_is_not_taken_for_the_one_that_is_awaited() -> None:
    async def scene() -> None:
        line = Line(2.0, 0.0)
        line.backlog.note_asked()
        line.backlog.pause(SINCE_NS)
        await asyncio.sleep(0.1)
        line.backlog.note_answer()
        await asyncio.sleep(5)
        assert line.told == [("held up", LATE_SECONDS), ("caught up", 2.0)]

    _run(scene)


def test_a_venue_that_is_read_and_does_not_answer_is_replaced() -> None:
    async def scene() -> None:
        line = Line()
        line.backlog.pause(SINCE_NS)
        await asyncio.sleep(3 * PATIENCE_SECONDS)
        assert line.told == [("held up", LATE_SECONDS)], "who does not read awaits no answer"
        line.backlog.go_on()
        await asyncio.sleep(PATIENCE_SECONDS - 1)
        assert len(line.told) == 1
        await asyncio.sleep(PATIENCE_SECONDS + 1)
        assert [what for what, _ in line.told[1:]] == [f"lost since {SINCE_NS}"]

    _run(scene)


def test_nothing_is_told_of_a_connection_that_has_ended() -> None:
    async def scene() -> None:
        line = Line(2.0)
        line.backlog.pause(SINCE_NS)
        await asyncio.sleep(0.1)
        line.backlog.stop()
        await asyncio.sleep(10)
        assert (line.told, line.failures) == ([], [])

    _run(scene)


def test_a_failure_of_our_own_is_not_swallowed() -> None:
    async def scene() -> None:
        line = Line()
        line.broken = True
        line.backlog.pause(SINCE_NS)
        await asyncio.sleep(1)
        (failure,) = line.failures
        with pytest.raises(RuntimeError, match="a defect"):
            raise failure

    _run(scene)
