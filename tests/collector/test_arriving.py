"""What has arrived is given at once: in order, whole, and none of it lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from surveillance_collector.arriving import ArrivingConnection

Message = tuple[bytes, ...]
"""A message in the pieces in which it is sent."""


async def _pieces(message: Message) -> AsyncIterator[str]:
    for piece in message:
        yield piece.decode()


async def _received(messages: Sequence[Message], *, wait: bool) -> tuple[list[bytes], int]:
    """What a client takes of them until the peer closes, and how many were there already."""

    async def send(peer: ServerConnection) -> None:
        for message in messages:
            # one that comes in a single piece is a frame, any other is a frame for each piece
            await peer.send(message[0].decode() if len(message) == 1 else _pieces(message))

    taken: list[bytes] = []
    at_once = 0
    async with serve(send, "127.0.0.1", 0, compression=None) as server:
        port = server.sockets[0].getsockname()[1]
        url = f"ws://127.0.0.1:{port}"
        async with connect(
            url, create_connection=ArrivingConnection, compression=None, proxy=None
        ) as socket:
            assert isinstance(socket, ArrivingConnection)
            try:
                while True:
                    message = socket.arrived()
                    if message is None:
                        message = await socket.recv(decode=False)
                        if wait:
                            # what else is on its way comes meanwhile
                            await asyncio.sleep(0)
                    else:
                        at_once += 1
                    taken.append(message)
            except ConnectionClosed:
                return taken, at_once


_texts = st.text(max_size=20).map(str.encode)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(_texts, min_size=1, max_size=4).map(tuple), max_size=40), st.booleans())
def test_every_message_comes_once_and_in_order(messages: list[Message], wait: bool) -> None:
    taken, _ = asyncio.run(_received(messages, wait=wait))
    assert taken == [b"".join(message) for message in messages]


def test_what_came_in_one_read_needs_no_waiting() -> None:
    messages: list[Message] = [(b'{"n":%d}' % number,) for number in range(400)]
    taken, at_once = asyncio.run(_received(messages, wait=True))
    assert len(taken) == 400
    assert at_once > 300


def test_a_peer_that_was_made_to_wait_goes_on() -> None:
    """More than the buffers hold: reading is stopped and has to be taken up again."""
    size = 1 << 18
    messages: list[Message] = [(bytes([65 + number % 26]) * size,) for number in range(80)]
    taken, _ = asyncio.run(_received(messages, wait=True))
    assert [message[:1] for message in taken] == [message[0][:1] for message in messages]
    assert {len(message) for message in taken} == {size}
