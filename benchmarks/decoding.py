"""decode+apply (Polymarket): frames in, books and trades out, on one core.

Ours is ``PolymarketChannel.receive_all`` with all its validation. The limit is a lean decoder of
the same frames (``lean_decoders``). What a hash check costs does not depend on the message rate
but on the number of books and the interval, so it is shown apart: at production's interval on
frames that arrive at 2,000 a second, with no checks but those of the ``book`` frames, and with
every batch judged. The peers check nothing, so ours stands beside them without sampled checks.

Reference figures (ratio to the decoder): 0.45 for the best Python book without any integrity check,
order-book 0.28, cryptofeed 0.09, nautilus_trader 0.05.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from benchmarks.harness import Contender, Row, Scale, Timings, at_least, run_in_turn
from benchmarks.lean_decoders import decode_polymarket
from benchmarks.nautilus_books import nautilus_receiver
from benchmarks.peer_books import Receive, cryptofeed_receiver, order_book_receiver
from benchmarks.polymarket_frames import MESSAGES_PER_SECOND, FrameMaker, Stream
from surveillance_core.settings_tables import VenueSettings
from surveillance_core.venues.polymarket.channel import PolymarketChannel
from surveillance_core.venues.protocols import IntegrityTally

NAME = "decode+apply (Polymarket)"
_UNIT = "messages/CPU-s"
BOUND = 0.35
"""Of the lean decoder, with every validation but the sampled hashes."""
PEERS = {"cryptofeed": 3.0, "nautilus_trader": 5.0, "order-book": None}
"""Least times a peer's rate; order-book keeps bare levels and is shown for comparison."""
FRAMES_A_READ = 32
"""Frames handed over at once, as one read of a socket holds them: 16 KiB."""
WARM_UP = 10_000
"""Frames received before the clock starts: a collector's books are hours old."""
_NEVER_NS = 10**18


def measure(scale: Scale) -> Iterator[Row]:
    """Rows: production's checks, none sampled, all; then against each peer."""
    messages = scale.pick(10_000, 20_000)
    stream = FrameMaker().make(WARM_UP + messages)
    warm_up, timed = stream.frames[:WARM_UP], stream.frames[WARM_UP:]
    production_ns = VenueSettings().hash_check_interval_ms * 1_000_000
    last: dict[str, PolymarketChannel] = {}

    def ours(name: str, hash_interval_ns: int) -> Contender:
        def prepare() -> Callable[[], None]:
            channel = last[name] = PolymarketChannel(hash_interval_ns=hash_interval_ns)
            channel.follow(stream.assets)
            for frame in stream.opening:
                channel.receive(frame, stream.opened_ns)
            _receive_all(channel, warm_up)
            channel.hashes = IntegrityTally()
            return lambda: _receive_all(channel, timed)

        return prepare

    def peer(receive: Receive) -> Contender:
        def run() -> None:
            for frame, _ in timed:
                receive(frame)

        def prepare() -> Callable[[], None]:
            for frame in stream.opening:
                receive(frame)
            for frame, _ in warm_up:
                receive(frame)
            return run

        return prepare

    def decode() -> None:
        for frame, _ in timed:
            decode_polymarket(frame)

    contenders: dict[str, Contender] = {
        "limit": lambda: decode,
        "production": ours("production", production_ns),
        "unsampled": ours("unsampled", _NEVER_NS),
        "every": ours("every", 0),
    }
    for name, receiver in (
        ("order-book", order_book_receiver(stream)),
        ("cryptofeed", cryptofeed_receiver(stream)),
        ("nautilus_trader", nautilus_receiver(stream)),
    ):
        if receiver is not None:
            contenders[name] = peer(receiver)
    timings = run_in_turn(contenders, scale.pick(3, 5))
    yield from _rows(timings, stream, last)


def _receive_all(channel: PolymarketChannel, frames: list[tuple[bytes, int]]) -> None:
    for start in range(0, len(frames), FRAMES_A_READ):
        for _ in channel.receive_all(frames[start : start + FRAMES_A_READ]):
            pass
    if channel.hashes.mismatched or channel.ignored or channel.crossed_at_batch_end:
        raise RuntimeError(f"the frames were not understood: {channel.hashes} {channel.ignored}")


def _rows(timings: Timings, stream: Stream, last: dict[str, PolymarketChannel]) -> Iterator[Row]:
    messages = len(stream.frames) - WARM_UP
    limit = timings.rate("limit", messages)
    shape = (
        f"{messages} messages, mean {stream.mean_bytes:.0f} B, {len(stream.assets)} books, "
        f"{MESSAGES_PER_SECOND} messages/s of replayed time"
    )

    def checks(name: str) -> str:
        return f"{last[name].hashes.due / messages:.2f} hash checks a message"

    for name, label, bounded in (
        ("unsampled", NAME, True),
        ("production", f"{NAME}, hashes as in production", False),
        ("every", f"{NAME}, every hash", False),
    ):
        ratio = 1 / timings.ratio("limit", name)
        rate = timings.rate(name, messages)
        members = at_least(ratio, BOUND, "limit") if bounded else {"ratio": ratio}
        note = f"{checks(name)}, {100 * MESSAGES_PER_SECOND / rate:.1f} % of a core at this rate"
        yield Row(
            workload=label,
            unit=_UNIT,
            limit=limit,
            ours=rate,
            note=f"{shape}; {note}" if bounded else note,
            **members,  # type: ignore[arg-type]
        )
    for peer, bound in PEERS.items():
        peer_rate = timings.rate_if_run(peer, messages)
        ratio = timings.ratio("unsampled", peer) if peer_rate is not None else None
        members = {"ratio": ratio} if bound is None else at_least(ratio, bound, peer)
        yield Row(
            workload=f"{NAME} against {peer}",
            unit=_UNIT,
            limit=limit,
            peer=peer_rate,
            ours=timings.rate("unsampled", messages),
            note="no sampled hashes" if peer_rate is not None else f"{peer} is not installed",
            **members,  # type: ignore[arg-type]
        )
