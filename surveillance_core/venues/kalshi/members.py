"""Members of Kalshi's objects known of, so that a new one is noticed (reference kalshi.md 4, 6).

Seen in listings from 2025 to 2026, or documented. To know a member is not to use it.
"""

from __future__ import annotations

from typing import Final

EVENT_USED: Final = frozenset(
    """
    category collateral_return_type event_ticker markets mutually_exclusive series_ticker title
    """.split()
)
"""Members of an event that the reader reads."""

EVENT_KNOWN: Final = frozenset(
    """
    available_on_brokers exchange_index fee_multiplier_override fee_type_override last_updated_ts
    product_metadata settlement_sources strike_date strike_period sub_title
    """.split()
)

MARKET_USED: Final = frozenset(
    """
    cap_strike close_time event_ticker floor_strike market_type price_ranges rules_primary
    rules_secondary status strike_type ticker title volume_24h_fp yes_sub_title
    """.split()
)
"""Members of a market that the reader reads and today's listing has."""

MARKET_KNOWN: Final = frozenset(
    """
    can_close_early category created_time custom_strike early_close_condition exchange_index
    expected_expiration_time expiration_time expiration_value fee_waiver_expiration_time
    fractional_trading_enabled functional_strike is_provisional last_price last_price_dollars
    latest_expiration_time liquidity liquidity_dollars mve_collection_ticker mve_selected_legs
    no_ask no_ask_dollars no_bid no_bid_dollars no_sub_title notional_value
    notional_value_dollars occurrence_datetime open_interest open_interest_fp open_time
    previous_price previous_price_dollars previous_yes_ask previous_yes_ask_dollars
    previous_yes_bid previous_yes_bid_dollars price_level_structure primary_participant_key
    response_price_units result risk_limit_cents series_ticker settlement_bounds_type
    settlement_floor_dollars settlement_timer_seconds settlement_ts settlement_value
    settlement_value_dollars subtitle tick_size updated_time volume volume_24h volume_fp yes_ask
    yes_ask_dollars yes_ask_size_fp yes_bid yes_bid_dollars yes_bid_size_fp
    """.split()
)
