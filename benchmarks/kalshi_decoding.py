"""decode+apply (Kalshi): frames in, books and trades out, on one core.

Ours is ``KalshiChannel.receive_all`` with all its validation: every number of every stream, price
spellings, finite sizes, no level below nothing, engine events and crossed books, tickers compared.
The limit is a lean msgspec decoder of the same frames (``lean_decoders``). No peer on PyPI keeps
Kalshi books: the venue's own SDK has none.

Reference figures (ratio to the decoder): 0.39 for the best Python book without sequence numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from benchmarks.harness import Row, Scale, at_least, run_in_turn
from benchmarks.kalshi_frames import MESSAGES_PER_SECOND, KalshiFrameMaker
from benchmarks.lean_decoders import decode_kalshi
from surveillance_core.venues.kalshi.channel import KalshiChannel

NAME = "decode+apply (Kalshi)"
BOUND = 0.30
FRAMES_A_READ = 64
"""Frames handed over at once, as one read of a socket holds them: 16 KiB."""
WARM_UP = 10_000
"""Frames received before the clock starts: a collector's books are hours old."""


def measure(scale: Scale) -> Iterator[Row]:
    """One row, against the limit."""
    messages = scale.pick(20_000, 60_000)
    stream = KalshiFrameMaker().make(WARM_UP + messages)
    warm_up, timed = stream.frames[:WARM_UP], stream.frames[WARM_UP:]

    def ours() -> Callable[[], None]:
        channel = KalshiChannel()
        channel.follow(stream.assets)
        for frame in stream.opening:
            channel.receive(frame, stream.opened_ns)
        _receive_all(channel, warm_up)
        return lambda: _receive_all(channel, timed)

    def decode() -> None:
        for frame, _ in timed:
            decode_kalshi(frame)

    timings = run_in_turn({"limit": lambda: decode, "ours": ours}, scale.pick(7, 11))
    rate = timings.rate("ours", messages)
    yield Row(
        workload=NAME,
        unit="messages/CPU-s",
        limit=timings.rate("limit", messages),
        ours=rate,
        note=(
            f"{messages} messages, mean {stream.mean_bytes:.0f} B, {len(stream.assets)} books, "
            f"{100 * stream.kinds['orderbook_delta'] / len(stream.frames):.0f} % changes; "
            f"{100 * MESSAGES_PER_SECOND / rate:.1f} % of a core at {MESSAGES_PER_SECOND} a second"
        ),
        **at_least(1 / timings.ratio("limit", "ours"), BOUND, "limit"),  # type: ignore[arg-type]
    )


def _receive_all(channel: KalshiChannel, frames: list[tuple[bytes, int]]) -> None:
    for start in range(0, len(frames), FRAMES_A_READ):
        for _ in channel.receive_all(frames[start : start + FRAMES_A_READ]):
            pass
    wrong = (
        channel.ignored.total()
        + channel.negative_levels
        + channel.crossed_at_batch_end
        + channel.sequence.gaps
        + channel.tickers.compared
        - channel.tickers.agreed
    )
    if wrong:
        raise RuntimeError(f"the frames were not understood: {channel.ignored} {channel.sequence}")
