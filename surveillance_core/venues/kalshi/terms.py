"""What Kalshi says beside its markets: series and their fees, incentive programmes, its status.

Pure: parsed JSON in, typed values out. A fee is kept as it is stated, a schedule's name and a
multiplier; rates are no part of a listing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Final

import msgspec

from surveillance_core.markets import FeeTerms, IncentiveTerms, NamedFee
from surveillance_core.venues.kalshi.fees import FeeKind
from surveillance_core.venues.listing import Json, MemberReader, as_object

MEASURED_FEES: Final = frozenset(kind.value for kind in FeeKind)
"""Schedules whose formula is known (kalshi.md 7)."""

_OTHER_FEES: Final = frozenset({"flat", "margin_market_maker_program_fees"})
_INCENTIVES: Final = frozenset({"liquidity", "volume", "margin_maker_volume"})
_TICKER: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


class SeriesTerms(msgspec.Struct, frozen=True, kw_only=True):
    """What a series says of every event in it."""

    title: str
    category: str | None
    fee_kind: str | None
    fee_multiplier: float | None


class ExchangeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the exchange is up; None where it did not say."""

    exchange_active: bool | None
    trading_active: bool | None
    resumes: datetime | None


class TermsReader:
    """Gathers what markets are completed with; feed it before the events.

    Parameters
    ----------
    oddities
        Counted into, by member and cause.
    """

    def __init__(self, oddities: Counter[str]) -> None:
        self.oddities = oddities
        self._members = MemberReader(oddities)
        self._series: dict[str, SeriesTerms] = {}
        self._incentives: dict[str, dict[str, IncentiveTerms]] = {}

    def series_of(self, event: Json) -> SeriesTerms | None:
        """The terms of the event's series, where they were listed."""
        return self._series.get(read_ticker(event, "series_ticker") or "")

    def incentives_of(self, market_id: str) -> tuple[IncentiveTerms, ...]:
        """Programmes that name the market."""
        return tuple(self._incentives.get(market_id, {}).values())

    def read_series(self, listed: Iterable[object]) -> None:
        """Take series, for the fee terms and the category of their markets."""
        for item in listed:
            series = as_object(item)
            ticker = None if series is None else read_ticker(series, "ticker")
            if series is None or ticker is None:
                self.oddities["series_unreadable"] += 1
                continue
            self._series[ticker] = SeriesTerms(
                title=self._members.text(series, "title") or "",
                category=self._members.text(series, "category"),
                fee_kind=self._members.text(series, "fee_type"),
                fee_multiplier=self._members.number(series, "fee_multiplier"),
            )

    def read_incentives(self, listed: Iterable[object]) -> int:
        """Take incentive programmes; returns how many were new."""
        new = 0
        for item in listed:
            programme = as_object(item)
            market_id = None if programme is None else read_ticker(programme, "market_ticker")
            terms = None if programme is None else self._incentive(programme)
            if market_id is None or terms is None:
                self.oddities["incentive_unreadable"] += 1
                continue
            programmes = self._incentives.setdefault(market_id, {})
            new += terms.programme_id not in programmes
            programmes[terms.programme_id] = terms
        return new

    def read_status(self, body: object) -> ExchangeStatus | None:
        """Take the exchange's status; a halt is counted, the listing stands without it."""
        status = as_object(body)
        if status is None or "exchange_active" not in status:
            self.oddities["exchange_status_unreadable"] += 1
            return None
        read = ExchangeStatus(
            exchange_active=self._members.flag(status, "exchange_active"),
            trading_active=self._members.flag(status, "trading_active"),
            resumes=self._members.moment(status, "exchange_estimated_resume_time"),
        )
        if read.exchange_active is False:
            self.oddities["exchange_not_active"] += 1
        if read.trading_active is False:
            self.oddities["trading_not_active"] += 1
        return read

    def named_fee(self, event: Json) -> NamedFee | None:
        """Event override, then series, each member for itself (kalshi.md 7).

        An override that cannot be read is still one: the series' value is not what holds.
        """
        series = self.series_of(event)
        kind = self._members.text(event, "fee_type_override")
        multiplier = self._members.number(event, "fee_multiplier_override")
        kind_here, multiplier_here = (
            event.get(f"{name}_override") not in (None, "")
            for name in ("fee_type", "fee_multiplier")
        )
        by_event = kind_here + multiplier_here
        if series is not None:
            kind = kind if kind_here else series.fee_kind
            multiplier = multiplier if multiplier_here else series.fee_multiplier
        if kind is None:
            self.oddities["fee_not_said"] += 1
            return None
        if kind not in MEASURED_FEES | _OTHER_FEES:
            self._members.count_unknown("fee_type", kind)
        set_by = ("series", "event+series", "event")[by_event]
        return NamedFee(kind=kind, multiplier=multiplier, set_by=set_by)

    def _incentive(self, programme: Json) -> IncentiveTerms | None:
        read = self._members
        kind = read.text(programme, "incentive_type")
        centicents = read.number(programme, "period_reward")
        identity = read.text(programme, "id")
        if kind is None or centicents is None or identity is None:
            return None
        if kind not in _INCENTIVES:
            read.count_unknown("incentive_type", kind)
        basis_points = read.number(programme, "discount_factor_bps")
        return IncentiveTerms(
            programme_id=identity,
            kind=kind,
            reward=centicents / 10_000,
            starts=read.moment(programme, "start_date"),
            ends=read.moment(programme, "end_date"),
            target_size=read.number(programme, "target_size_fp", "target_size"),
            discount_factor=None if basis_points is None else basis_points / 10_000,
        )


def read_ticker(source: Json, name: str) -> str | None:
    """A ticker, None unless it is one that is safe in an address, a path and a command."""
    value = source.get(name)
    return value if isinstance(value, str) and _TICKER.fullmatch(value) else None


def fee_terms_of(fee: NamedFee | None) -> FeeTerms:
    """Scheduled only where the schedule's formula and its multiplier are both known."""
    if fee is None or fee.kind not in MEASURED_FEES or fee.multiplier is None:
        return FeeTerms.UNKNOWN
    return FeeTerms.SCHEDULED if fee.multiplier >= 0 else FeeTerms.UNKNOWN
