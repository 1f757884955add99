"""Members of Gamma's objects known of, so that a new one is noticed (reference polymarket.md 1).

Seen in listings from 2024 to 2026, or documented. To know a member is not to use it.
"""

from __future__ import annotations

from typing import Final

EVENT_USED: Final = frozenset("id markets negRisk tags title".split())
"""Members of an event that the reader reads and every year's listing has."""

EVENT_KNOWN: Final = frozenset(
    """
    active archived automaticallyActive automaticallyResolved cantEstimate category closed
    closedTime commentCount commentsEnabled competitive countryName createdAt creationDate
    cumulativeMarkets cyom deploying deployingTimestamp description disqusThread elapsed
    electionType enableNegRisk enableOrderBook endDate ended estimateValue eventCreators eventDate
    eventMetadata eventWeek featured featuredImage featuredOrder finishedTimestamp gameId
    gameStatus gmpChartMode icon id image image_raw isTemplate liquidity liquidityAmm liquidityClob
    live markets negRisk negRiskAugmented negRiskFeeBips negRiskMarketID new openInterest
    parentEventId pendingDeployment period published_at requiresTranslation resolutionSource
    restricted score series seriesSlug showAllOutcomes showMarketImages slug sortBy
    spreadsMainLine startDate startTime subcategory subtitle tags ticker title totalsMainLine
    turnProviderId tweetCount updatedAt updatedBy version volume volume1mo volume1wk volume1yr
    volume24hr
    """.split()
)

MARKET_USED: Final = frozenset(
    """
    acceptingOrders active clobTokenIds closed conditionId description enableOrderBook endDate
    feeSchedule feesEnabled negRisk orderMinSize orderPriceMinTickSize outcomes question
    rewardsMaxSpread rewardsMinSize volume24hr
    """.split()
)
"""Members of a market that the reader reads."""

MARKET_KNOWN: Final = frozenset(
    """
    $schema _sync acceptingOrders acceptingOrdersTimestamp active amm_type approved archived
    automaticallyActive automaticallyResolved bestAsk bestBid category clearBookOnStart
    clobRewards clobTokenIds closed closedTime closed_time comboStatus competitive conditionId
    createdAt created_at creator cryptoMarketConfig customLiveness cyom denomination_token
    deploying deployingTimestamp description enableOrderBook endDate endDateIso end_date
    eventStartTime event_start_time event_title events featured feeSchedule feeType feesEnabled
    formatType fpmmLive funded gameId gameStartTime groupItemThreshold groupItemTitle
    hasReviewedDates holdingRewardsEnabled icon id image image_raw lastTradePrice line liquidity
    liquidityAmm liquidityClob liquidityNum liquidity_num lowerBound lower_bound lower_bound_date
    mailchimpTag makerBaseFee makerRebatesFeeShareBps manualActivation marketMakerAddress
    marketType market_type negRisk negRiskMarketID negRiskOther negRiskRequestID new
    notificationsEnabled oneDayPriceChange oneHourPriceChange oneMonthPriceChange
    oneWeekPriceChange oneYearPriceChange orderMinSize orderPriceMinTickSize outcomePrices
    outcomes pagerDutyNotificationEnabled pendingDeployment positionIds question questionID ready
    readyForCron requiresTranslation resolutionSource resolution_source resolvedBy resolved_by
    restricted rewardsMaxSpread rewardsMinSize rfqEnabled secondsDelay sentDiscord series
    seriesColor shortOutcomes showGmpOutcome showGmpSeries slug sportsMarketType spread startDate
    startDateIso submitted_by tags takerBaseFee teamAID teamBID twitterCardImage umaBond
    umaEndDate umaResolutionStatus umaResolutionStatuses umaReward updatedAt updatedBy updated_at
    upperBound upper_bound upper_bound_date version volume volume1mo volume1moAmm volume1moClob
    volume1wk volume1wkAmm volume1wkClob volume1yr volume1yrAmm volume1yrClob volume24hr
    volume24hrAmm volume24hrClob volumeAmm volumeClob volumeNum volume_num wideFormat wide_format
    x_axis_value y_axis_value
    """.split()
)

FEE_TYPES: Final = frozenset(
    """
    crypto_15_min crypto_fees crypto_fees_v2 culture_fees economics_fees finance_prices_fees
    general_fees mentions_fees politics_fees sports_fees sports_fees_nfl_cfb_oct26 sports_fees_v2
    sports_fees_v3 tech_fees weather_fees zero_fees
    """.split()
)
"""Names of fee schedules known of; another one is news, its formula is still in the listing."""
