"""Every command and every error, sid by sid and number by number (reference kalshi.md 3)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from surveillance_core.venues.kalshi.wire import Commands
from surveillance_core.venues.simulated.kalshi.limits import KalshiLimits
from surveillance_core.venues.simulated.kalshi.spelling import market_uuid

from .line import Floor, Line
from .stage import START_MS, Stage

Json = dict[str, Any]
A, B, C = "KXDAY-0-T0", "KXDAY-0-T1", "KXDAY-0-T2"


@pytest.fixture
def line() -> Line:
    return Line(Floor(Stage()))


def _shape(frames: list[Json]) -> list[tuple[str, int | None]]:
    return [(frame["type"], frame.get("seq")) for frame in frames]


def _code(frames: list[Json]) -> int:
    assert [frame["type"] for frame in frames] == ["error"]
    return frames[0]["msg"]["code"]


def test_one_subscribe_makes_a_stream_a_channel_and_an_unknown_one_fails_alone(line: Line) -> None:
    answers = line.subscribe(A, B, channels=("orderbook_delta", "nonsense", "trade", "ticker"))
    assert _shape(answers) == [
        ("subscribed", None),
        ("orderbook_snapshot", 1),
        ("orderbook_snapshot", 2),
        ("error", None),
        ("subscribed", None),
        ("subscribed", None),
    ]
    assert [a["msg"] for a in answers if a["type"] == "subscribed"] == [
        {"channel": "orderbook_delta", "sid": 1},
        {"channel": "trade", "sid": 2},
        {"channel": "ticker", "sid": 3},
    ]
    assert {a["id"] for a in answers if a["type"] != "orderbook_snapshot"} == {1}
    assert answers[3]["msg"] == {"code": 8, "msg": "Unknown channel name"}
    assert "sid" not in answers[3]
    assert all(a["sending_ts_ms"] == START_MS for a in answers)


def test_a_second_subscribe_merges_and_known_tickers_get_no_snapshot(line: Line) -> None:
    line.subscribe(A)
    answers = line.subscribe(A, B)
    assert _shape(answers) == [("ok", 2), ("orderbook_snapshot", 3)]
    assert answers[0] == {
        "id": 2, "sid": 1, "seq": 2, "type": "ok", "msg": {"market_tickers": [A, B]},
        "sending_ts_ms": START_MS,
    }  # fmt: skip
    assert answers[1]["msg"]["market_ticker"] == B
    assert line.subscribe(B, skip_ticker_ack=True)[0]["msg"] == {}


def test_markets_are_added_and_taken_out_of_one_stream(line: Line) -> None:
    line.subscribe(A)
    assert _shape(line.update(1, "add_markets", A, B)) == [("ok", 2), ("orderbook_snapshot", 3)]
    gone = line.update(1, "delete_markets", A, "KXNONE")
    assert gone[0]["msg"] == {"market_tickers": [B]}
    assert gone[0]["seq"] == 4
    line.taken()
    line.floor.hub.publish(line.floor.stage.batch(0, (True, 100, 1.0)))
    assert line.taken() == []
    line.floor.hub.publish(line.floor.stage.batch(1, (True, 100, 1.0)))
    assert _shape(line.taken()) == [("orderbook_delta", 5)]


def test_a_snapshot_on_demand_echoes_the_command_and_changes_no_list(line: Line) -> None:
    line.subscribe(A, B)
    found = line.update(1, "get_snapshot", B, "KXNONE")
    assert _shape(found) == [("orderbook_snapshot", 3)]
    assert found[0]["id"] == 2
    assert found[0]["msg"]["market_ticker"] == B
    assert line.subscribe(A)[0]["msg"]["market_tickers"] == [A, B]


def test_unsubscribing_takes_a_number_and_ends_the_sid(line: Line) -> None:
    line.subscribe(A, channels=("orderbook_delta", "trade"))
    assert line.command("unsubscribe", sids=[1, 9]) == [
        {"id": 2, "sid": 1, "seq": 2, "type": "unsubscribed", "sending_ts_ms": START_MS},
        {
            "id": 2, "type": "error", "sending_ts_ms": START_MS,
            "msg": {"code": 7, "msg": "Unknown subscription ID"},
        },
    ]  # fmt: skip
    assert _code(line.update(1, "add_markets", A)) == 7
    # a new stream has a new sid and counts from one
    assert _shape(line.subscribe(A)) == [("subscribed", None), ("orderbook_snapshot", 1)]
    assert line.frames[-1]["sid"] == 3


def test_streams_are_listed_without_a_number(line: Line) -> None:
    assert line.send({"id": 4, "cmd": "list_subscriptions"})[0]["msg"] == []
    line.subscribe(A, channels=("trade", "orderbook_delta"))
    assert line.send({"id": 5, "cmd": "list_subscriptions"}) == [
        {
            "id": 5, "type": "ok", "sending_ts_ms": START_MS,
            "msg": [{"channel": "trade", "sid": 1}, {"channel": "orderbook_delta", "sid": 2}],
        }
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("{", 1),
        (b"\xff\xfe", 1),
        ("[1]", 1),
        ({"id": 1, "cmd": "subscribe"}, 2),
        ({"id": 1, "cmd": "subscribe", "params": []}, 2),
        ({"id": 1, "cmd": "subscribe", "params": {}}, 3),
        ({"id": 1, "cmd": "subscribe", "params": {"channels": []}}, 3),
        ({"id": 1, "cmd": "unsubscribe", "params": {}}, 4),
        ({"id": 1, "cmd": "dance", "params": {}}, 5),
        ({"id": 1, "params": {}}, 5),
        ({"id": 1, "cmd": "update_subscription", "params": {"sids": [7], "action": "x"}}, 7),
        ({"id": 1, "cmd": "subscribe", "params": {"channels": ["multivariate"]}}, 8),
        ({"id": 1, "cmd": "subscribe", "params": {"channels": ["ticker_v2"]}}, 8),
        (
            {
                "id": 1,
                "cmd": "subscribe",
                "params": {"channels": ["trade"], "market_tickers": "KXA"},
            },
            11,
        ),
        (
            {
                "id": 1,
                "cmd": "subscribe",
                "params": {
                    "channels": ["orderbook_delta"],
                    "market_ticker": A,
                    "use_yes_price": "yes",
                },
            },
            11,
        ),
        ({"id": 1, "cmd": "update_subscription", "params": {"action": "add_markets"}}, 12),
        ({"id": 1, "cmd": "update_subscription", "params": {"sids": [1, 2], "action": "x"}}, 12),
        ({"id": 1, "cmd": "subscribe", "params": {"channels": ["orderbook_delta"]}}, 14),
    ],
)
def test_a_command_that_cannot_be_done_is_answered_with_its_code(
    line: Line, command: object, code: int
) -> None:
    answers = line.send(command)
    assert _code(answers) == code
    assert answers[0].get("id") == (None if code == 1 else 1)
    assert line.session.streams == {}


def test_an_update_without_an_action_or_markets_is_refused(line: Line) -> None:
    line.subscribe(A)
    assert _code(line.command("update_subscription", sids=[1])) == 15
    assert _code(line.command("update_subscription", sid=1, action="add_markets")) == 14
    assert line.session.streams[1].seq == 1


def test_a_snapshot_of_trades_is_an_error_that_takes_the_streams_number(line: Line) -> None:
    # as observed: no id, the stream's sid and its next number
    line.subscribe(A, channels=("trade",))
    assert line.update(1, "get_snapshot", A) == [
        {
            "type": "error", "sid": 1, "seq": 1, "sending_ts_ms": START_MS,
            "msg": {"code": 13, "msg": "Unsupported action"},
        }
    ]  # fmt: skip
    line.floor.hub.publish(line.floor.stage.batch(0, trade=line.floor.stage.fill(delay_ms=0)))
    line.floor.hub.release()
    assert _shape(line.frames[-1:]) == [("trade", 2)]


def test_too_many_markets_and_too_many_commands_are_refused() -> None:
    limits = KalshiLimits(markets_a_subscription=2, markets_a_session=3, commands_per_s=4)
    line = Line(Floor(Stage(), limits))
    assert _code(line.subscribe(A, B, C)) == 26
    assert line.subscribe(A, B)[0]["type"] == "subscribed"
    assert _code(line.update(1, "add_markets", C)) == 26
    # two on the first stream, and two more would be four in the session
    assert _code(line.subscribe(A, B, channels=("trade",))) == 26
    assert _code(line.subscribe(A, channels=("trade",))) == 27
    line.wall_ms = 250
    assert line.subscribe(A, channels=("trade",))[0]["type"] == "subscribed"


def test_unknown_tickers_pass_silently_with_an_empty_book(line: Line) -> None:
    answers = line.subscribe("KXNONE-1", A)
    assert answers[1]["msg"] == {"market_ticker": "KXNONE-1", "market_id": ""}
    assert answers[2]["msg"]["market_id"] == market_uuid(A)


def test_a_market_alone_may_be_named_and_tickers_by_id(line: Line) -> None:
    assert len(line.command("subscribe", channels=["orderbook_delta"], market_ticker=A)) == 2
    answers = line.command(
        "subscribe",
        channels=["ticker"],
        market_ids=[market_uuid(B), "unknown"],
        send_initial_snapshot=True,
    )
    assert [a["type"] for a in answers] == ["subscribed", "ticker"]
    assert "seq" not in answers[1]
    assert answers[1]["msg"]["market_ticker"] == B


def test_the_clients_own_commands_are_understood(line: Line) -> None:
    commands = Commands()
    for text in commands.subscribe([A, B]):
        line.send(text)
    for text in commands.subscribe_lifecycle():
        line.send(text)
    for text in commands.get_snapshot(1, [A]):
        line.send(text)
    for text in commands.delete_markets(1, [A]):
        line.send(text)
    for text in commands.unsubscribe([1, 2]):
        line.send(text)
    assert not [frame for frame in line.frames if frame["type"] == "error"]
    assert [frame["type"] for frame in line.frames][-3:] == ["ok", "unsubscribed", "unsubscribed"]
    assert line.channel.sequence.gaps == 0


def test_levels_of_no_stand_at_yes_prices_where_that_was_asked(line: Line) -> None:
    plain = line.subscribe(A)[1]["msg"]
    flipped = Line(line.floor, yes_price=True).subscribe(A, use_yes_price=True)[1]["msg"]
    assert plain["yes_dollars_fp"] == flipped["yes_dollars_fp"]
    mirrored = [[f"{1 - float(price):.4f}", size] for price, size in plain["no_dollars_fp"]]
    assert flipped["no_dollars_fp"] == mirrored[::-1]
    for message in (plain, flipped):
        for side in ("yes_dollars_fp", "no_dollars_fp"):
            prices = [price for price, _ in message[side]]
            assert prices == sorted(prices)


_TICKERS = st.lists(st.sampled_from([A, B, C, "KXNONE-1", "KXDAY-1-T0"]), max_size=4)
_CHANNEL = st.sampled_from(["orderbook_delta", "trade", "ticker", "market_lifecycle_v2", "no"])
_SIDS = st.lists(st.integers(1, 6), max_size=2)
_COMMAND = st.one_of(
    st.fixed_dictionaries(
        {
            "cmd": st.just("subscribe"),
            "params": st.fixed_dictionaries(
                {"channels": st.lists(_CHANNEL, max_size=3)},
                optional={"market_tickers": _TICKERS, "skip_ticker_ack": st.booleans()},
            ),
        }
    ),
    st.fixed_dictionaries(
        {
            "cmd": st.just("update_subscription"),
            "params": st.fixed_dictionaries(
                {
                    "sids": _SIDS,
                    "action": st.sampled_from(
                        ["add_markets", "delete_markets", "get_snapshot", "wish", ""]
                    ),
                },
                optional={"market_tickers": _TICKERS},
            ),
        }
    ),
    st.fixed_dictionaries(
        {"cmd": st.just("unsubscribe"), "params": st.fixed_dictionaries({"sids": _SIDS})}
    ),
    st.just({"cmd": "list_subscriptions"}),
)


@given(st.lists(_COMMAND, max_size=30))
def test_whatever_is_commanded_no_stream_skips_a_number(commands: list[Json]) -> None:
    floor = Floor(Stage(2))
    line = Line(floor)
    numbers: dict[int, int] = {}
    for command in commands:
        line.send({"id": 1} | command)
        for _ in range(2):
            floor.hub.publish(floor.stage.random_batch())
        floor.hub.release()
        for frame in line.taken():
            if "seq" in frame:
                assert frame["seq"] == numbers.get(frame["sid"], 0) + 1
                numbers[frame["sid"]] = frame["seq"]
            if frame["type"] == "ticker":
                assert "seq" not in frame
    assert line.channel.sequence.gaps == line.channel.negative_levels == 0
    books = [s for s in line.session.streams.values() if s.channel == "orderbook_delta"]
    for index, market in enumerate(floor.stage.markets):
        state = line.channel.states[market.market_id]
        if state.opened:
            assert market.market_id in books[0].tickers
            assert (state.book.bids, state.book.asks) == floor.stage.books[index]
    # nobody is sent what nobody follows any more
    line.session.end_all()
    line.taken()
    for _ in range(20):
        floor.hub.publish(floor.stage.random_batch())
    assert line.taken() == []


def test_frames_are_json_without_surprises(line: Line) -> None:
    text = line.session.command(json.dumps({"cmd": "list_subscriptions"}), 0)[1][0]
    assert json.loads(text) == {"type": "ok", "msg": [], "sending_ts_ms": START_MS}
