"""Both venues faster than the wall's clock: every book and trade as the truth log has it.

The quick tier of ``python -m scorecard.worlds``, whose full run is two hours of three worlds at
2,000 markets a venue.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from scorecard.worlds import Hours, run_hours

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]


def test_simulated_minutes_on_both_venues_are_recorded_without_a_difference(tmp_path: Path) -> None:
    plan = Hours(seed=4, hours=0.3, markets=80, speed=60.0, events_per_second=20.0)
    outcome = run_hours(plan, tmp_path)
    assert outcome.faultless, [verdict.examples for verdict in outcome.venues]
    assert outcome.reconnects == 0
    for verdict in outcome.venues:
        assert verdict.books.compared > 500
        assert verdict.trades.matched > 50
        assert verdict.covered_hours > 10
