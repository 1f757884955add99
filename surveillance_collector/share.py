"""Which part of the universe is this process's: several collectors share one universe. Pure.

Groups are given to shards by rendezvous hashing (Thaler and Ravishankar 1998): each shard draws a
number for each group and the highest has it. No list of who has what is kept or sent about, and
where a shard is added only the groups that go to it move.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, Self

from surveillance_core.groups import subscription_groups
from surveillance_core.markets import Market


@dataclass(frozen=True)
class Share:
    """Shard ``index`` of ``count``, counted from 0.

    Examples
    --------
    >>> Share.parse("1/4")
    Share(index=1, count=4)
    >>> Share().name, Share(1, 4).name
    ('0', '1of4')
    """

    index: int = 0
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Self:
        """From ``i/n``.

        Raises
        ------
        ValueError
            If the text is not that, or names a shard that there is not.
        """
        index, separator, count = text.partition("/")
        if not separator or not index.isdecimal() or not count.isdecimal():
            raise ValueError(f"not a shard: {text!r}; write i/n, as in 0/2 and 1/2")
        if int(index) >= int(count):
            raise ValueError(f"no shard {index} of {count}: they are counted from 0")
        return cls(int(index), int(count))

    @classmethod
    def named(cls, name: str) -> Self:
        """The shard of a ``name``; any other text is the whole, undivided."""
        index, _, count = name.partition("of")
        return cls(int(index), int(count)) if count.isdecimal() and index.isdecimal() else cls()

    @property
    def name(self) -> str:
        """In file names, logs and locks."""
        return "0" if self.count == 1 else f"{self.index}of{self.count}"

    def has(self, group_id: str) -> bool:
        """Whether the group is this shard's; of ``count`` shards exactly one says so."""
        return self.count == 1 or self.index == max(
            range(self.count), key=lambda shard: (_draw(shard, group_id), shard)
        )

    def of(self, universe: Sequence[Market]) -> list[Market]:
        """The shard's markets, in the universe's order; a group is never divided."""
        if self.count == 1:
            return list(universe)
        own = {
            market.market_id
            for group in subscription_groups(universe)
            if self.has(group.group_id)
            for market in group.markets
        }
        return [market for market in universe if market.market_id in own]


WHOLE: Final = Share()
"""One process collects everything."""


def _draw(shard: int, group_id: str) -> bytes:
    return blake2b(f"{shard} {group_id}".encode(), digest_size=8).digest()
