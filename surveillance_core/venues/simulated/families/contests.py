"""Contests: of several names one wins, or a decision falls one way; and games between two teams."""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random

from surveillance_core.markets import Venue
from surveillance_core.venues.simulated.families.dates import SUBJECTS
from surveillance_core.venues.simulated.families.drafts import (
    REPORTING,
    EventDraft,
    FamilyDraft,
    MarketDraft,
    at_hour,
    deadline_between,
    long_day,
    normalised,
    short_day,
    ticker_day,
)
from surveillance_core.venues.simulated.listings import SeriesListing, StrikeListing

_NAMES = (
    "Adler Finch", "Bea Okonski", "Carlo Venn", "Dina Marsh", "Eino Tarr", "Freya Lund",
    "Goro Halm", "Hana Brisk", "Ivo Castell", "Junia Pell", "Kara Voss", "Lio Grant",
)  # fmt: skip
_RACES = (
    ("Port Avery mayoral election", "PORTAVERY"),
    ("Calder leadership election", "CALDER"),
    ("Innes Bay governor race", "INNESBAY"),
)
_AWARDS = (
    ("Best Picture at the Meridian Awards", "MERIDIAN"),
    ("Album of the Year at the Lyra Awards", "LYRA"),
)
_CUTS = (
    ("50+ bps decrease", "C26", "cut by more than 25 bps"),
    ("25 bps decrease", "C25", "cut by 25 bps"),
    ("No change", "H0", "not changed"),
    ("25+ bps increase", "H25", "raised by 25 bps or more"),
)
_TEAMS = (
    ("Aldmoor Kestrels", "ALD"), ("Brantley Foxes", "BRA"), ("Corrin Harriers", "COR"),
    ("Dunmere Tides", "DUN"), ("Eastwick Comets", "EAS"), ("Fallow Pines", "FAL"),
)  # fmt: skip


def race(rng: Random, start: datetime) -> FamilyDraft:
    """Candidates without a residual: exhaustive for who pays, if nobody else can win."""
    contest, code = rng.choice(_RACES)
    names = rng.sample(_NAMES, rng.randint(3, 5))
    deadline = deadline_between(rng, start, 20, 300)
    same = rng.random() < 0.5
    return FamilyDraft(
        kind="race",
        weights=normalised([rng.paretovariate(1.2) for _ in names]),
        divergence=0.0 if same else rng.uniform(0.02, 0.05),
        clause="" if same else "winning against taking office",
        events=[
            _exclusive_on_polymarket(
                f"{contest} winner?",
                "Politics",
                [(name, f"Will {name} win the {contest}?") for name in names],
                f"is declared the winner of the next {contest}",
                "the electoral authority",
                deadline,
            ),
            EventDraft(
                venue=Venue.KALSHI,
                title=f"Who will win the {contest}?",
                sub_title=f"Before {short_day(deadline)}",
                description="",
                category="Elections",
                code=ticker_day(deadline),
                series=SeriesListing(
                    series_id=f"KX{code}",
                    title=contest,
                    category="Elections",
                    frequency="custom",
                ),
                exclusive=True,
                deadline=deadline,
                markets=[
                    MarketDraft(
                        title=f"Will {name} win the {contest}?",
                        label=name,
                        rules=(
                            f"If {name} "
                            + (
                                f"is declared the winner of the next {contest}"
                                if same
                                else f"is sworn in following the next {contest}"
                            )
                            + ", then the market resolves to Yes."
                        ),
                        rules_secondary="The source is the electoral authority.",
                        pays=(place,),
                        code=_initials(name),
                        strike=StrikeListing(kind="custom", custom=(("Candidate", name),)),
                    )
                    for place, name in enumerate(names)
                ],
            ),
        ],
    )


def award(rng: Random, start: datetime) -> FamilyDraft:
    """Nominees with a residual and placeholders on one venue, without a residual on the other."""
    prize, code = rng.choice(_AWARDS)
    titles = rng.sample(SUBJECTS, 4)
    deadline = deadline_between(rng, start, 20, 300)
    polymarket = _exclusive_on_polymarket(
        f"Who wins {prize}?",
        "Culture",
        [(f"“{t}”", f"Will “{t}” win {prize}?") for t in titles]
        + [("Other", f"Other wins {prize}?")],
        f"is announced as the winner of {prize}",
        "the academy's announcement",
        deadline,
    )
    polymarket.augmented = True
    polymarket.markets[-1].other = True
    polymarket.markets.append(
        MarketDraft(
            title=f"Will Title E win {prize}?",
            label="Title E",
            rules=polymarket.description,
            pays=(),
            active=False,
        )
    )
    return FamilyDraft(
        kind="award",
        weights=normalised([rng.paretovariate(1.2) for _ in range(len(titles) + 1)]),
        events=[
            polymarket,
            EventDraft(
                venue=Venue.KALSHI,
                title=f"{prize}?",
                sub_title=f"{deadline.year}",
                description="",
                category="Entertainment",
                code=ticker_day(deadline),
                series=SeriesListing(
                    series_id=f"KX{code}",
                    title=prize,
                    category="Entertainment",
                    frequency="annual",
                ),
                exclusive=True,
                deadline=deadline,
                markets=[
                    MarketDraft(
                        title=f"Will “{title}” win {prize}?",
                        label=title,
                        rules=(
                            f"If “{title}” is announced as the winner of {prize}, then the market "
                            "resolves to Yes."
                        ),
                        rules_secondary="The source is the academy's announcement.",
                        pays=(place,),
                        code=_initials(title),
                        strike=StrikeListing(kind="custom", custom=(("Nominee", title),)),
                    )
                    for place, title in enumerate(titles)
                ],
            ),
        ],
    )


def decision(rng: Random, start: datetime) -> FamilyDraft:
    """A central bank's rate: four moves that leave nothing out."""
    meeting = start + timedelta(days=rng.randint(10, 45))
    month = f"{meeting:%B}"
    deadline = deadline_between(rng, meeting, 0, 2)
    return FamilyDraft(
        kind="decision",
        weights=normalised([rng.paretovariate(1.2) for _ in _CUTS]),
        events=[
            _exclusive_on_polymarket(
                f"Central bank decision in {month}?",
                "Economy",
                [
                    (cut, f"Will the {month} central bank decision be: {cut}?")
                    for cut, _, _ in _CUTS
                ],
                "is the change of the policy rate announced after the meeting, rounded up to the "
                "nearest 25 basis points",
                "the bank's own statement",
                deadline,
            ),
            EventDraft(
                venue=Venue.KALSHI,
                title=f"Central bank decision in {month}?",
                sub_title=f"After the {month} meeting",
                description="",
                category="Economics",
                code=ticker_day(deadline),
                series=SeriesListing(
                    series_id="KXRATEDECISION",
                    title="Central bank decision",
                    category="Economics",
                    frequency="monthly",
                ),
                exclusive=True,
                deadline=deadline,
                markets=[
                    MarketDraft(
                        title=f"Will the policy rate be {move} in {month}?",
                        label=cut,
                        rules=(
                            f"If the policy rate is {move} following the {month} {meeting.year} "
                            "meeting, rounded up to the nearest 25 basis points, then the market "
                            "resolves to Yes."
                        ),
                        rules_secondary="The source is the bank's own statement.",
                        pays=(place,),
                        code=code,
                        strike=StrikeListing(kind="custom", custom=(("Change", cut),)),
                    )
                    for place, (cut, code, move) in enumerate(_CUTS)
                ],
            ),
        ],
    )


def fixture(rng: Random, start: datetime) -> FamilyDraft:
    """A game: who wins, by how much, and how many points; outcomes are margin by total.

    Three margins (home by more than the spread, home by less, away) by two totals.
    """
    (home, home_code), (away, away_code) = rng.sample(_TEAMS, 2)
    day = at_hour(start + timedelta(days=rng.randint(0, 5), hours=6), 19)
    closes = day + timedelta(hours=3)
    line, total = rng.choice((2.5, 4.5, 7.5)), rng.choice((189.5, 201.5, 213.5))
    margin = [rng.uniform(0.5, 1.5) for _ in range(3)]
    high = rng.uniform(0.35, 0.65)
    weights = [m * share for m in margin for share in (high, 1.0 - high)]
    wins, covers, over = (0, 1, 2, 3), (0, 1), (0, 2, 4)
    title = f"{home} vs. {away}"
    void = (
        "\n\nIf the game is postponed, this market will remain open until the game has been "
        "completed. If the game is canceled entirely, with no make-up game, this market will "
        "resolve 50-50."
    )
    polymarket = [
        MarketDraft(
            title=title,
            label=None,
            rules=(
                f"In the upcoming game, scheduled for {long_day(day)} at 7:00 PM ET: if the {home} "
                f'win, the market will resolve to "{home}". If the {away} win, the market will '
                f'resolve to "{away}". Overtime counts.{void}'
            ),
            pays=wins,
            outcomes=(home, away),
        ),
        MarketDraft(
            title=f"Spread: {home} (-{line})",
            label=f"Spread -{line}",
            rules=(
                f'This market will resolve to "{home}" if the {home} win the game by '
                f'{int(line + 0.5)} or more points. Otherwise, it will resolve to "{away}".{void}'
            ),
            pays=covers,
            outcomes=(home, away),
        ),
        MarketDraft(
            title=f"{title}: O/U {total}",
            label=f"O/U {total}",
            rules=(
                f'This market will resolve to "Over" if the two teams combine to score '
                f'{int(total + 0.5)} or more points. Otherwise, it will resolve to "Under".{void}'
            ),
            pays=over,
            outcomes=("Over", "Under"),
        ),
    ]
    fair = (
        "If the game is cancelled or rescheduled to more than two days later, the market resolves "
        "to a fair price in accordance with the rules."
    )
    game = f"{ticker_day(day)}{home_code}{away_code}"
    return FamilyDraft(
        kind="fixture",
        weights=weights,
        divergence=0.01,
        clause="what happens when the game is cancelled",
        events=[
            EventDraft(
                venue=Venue.POLYMARKET,
                title=title,
                description=polymarket[0].rules,
                category="Sports",
                deadline=closes,
                markets=polymarket,
            ),
            EventDraft(
                venue=Venue.KALSHI,
                title=f"{home} at {away} winner?",
                sub_title=f"{home_code} at {away_code}",
                description="",
                category="Sports",
                code=game,
                series=SeriesListing(
                    series_id="KXLEAGUEGAME",
                    title="League game",
                    category="Sports",
                    frequency="custom",
                    fee_type="quadratic_with_maker_fees",
                ),
                exclusive=True,
                deadline=closes,
                markets=[
                    MarketDraft(
                        title=f"{home} at {away} winner?",
                        label=team,
                        rules=(
                            f"If {team} wins the {home} at {away} game originally scheduled for "
                            f"{short_day(day)}, then the market resolves to Yes."
                        ),
                        rules_secondary=fair,
                        pays=paying,
                        code=code,
                        strike=StrikeListing(kind="structured", custom=(("team", code),)),
                    )
                    for team, code, paying in ((home, home_code, wins), (away, away_code, (4, 5)))
                ],
            ),
            EventDraft(
                venue=Venue.KALSHI,
                title=f"{home} at {away}: total points",
                sub_title=f"{home_code} at {away_code}",
                description="",
                category="Sports",
                code=game,
                series=SeriesListing(
                    series_id="KXLEAGUETOTAL",
                    title="League game total",
                    category="Sports",
                    frequency="custom",
                    fee_multiplier=0.5,
                ),
                directional=True,
                deadline=closes,
                markets=[
                    MarketDraft(
                        title=f"{home} at {away}: total points",
                        label=f"Over {total} points scored",
                        rules=(
                            f"If the teams collectively score more than {total} points in the "
                            f"{home} at {away} game originally scheduled for {short_day(day)}, "
                            "then the market resolves to Yes."
                        ),
                        rules_secondary=fair,
                        pays=over,
                        code=f"{int(total + 0.5)}",
                        strike=StrikeListing(kind="greater", floor=total),
                    )
                ],
            ),
        ],
    )


def _exclusive_on_polymarket(
    title: str,
    category: str,
    outcomes: list[tuple[str, str]],
    rule: str,
    source: str,
    deadline: datetime,
) -> EventDraft:
    markets = [
        MarketDraft(
            title=question,
            label=label,
            rules=(
                f'This market will resolve to "Yes" if {label} {rule}. Otherwise, this market will '
                f'resolve to "No".\n\nIf no result is known by {long_day(deadline)}, 11:59 PM ET, '
                f'this market will resolve to "No".\n\nThe primary resolution source will be '
                f"{source}; {REPORTING}"
            ),
            pays=(place,),
        )
        for place, (label, question) in enumerate(outcomes)
    ]
    return EventDraft(
        venue=Venue.POLYMARKET,
        title=title,
        description=markets[0].rules,
        category=category,
        exclusive=True,
        deadline=deadline,
        markets=markets,
    )


def _initials(name: str) -> str:
    letters = "".join(letter for letter in name.upper() if letter.isalpha() and letter.isascii())
    return letters[:6]
