"""The whole campaign, shard by shard: every cut of every scenario, then the sampled second cuts. Counts at the end."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.faults import campaign

pytestmark = pytest.mark.campaign


@pytest.mark.parametrize("number", range(campaign.PARTS))
def test_part_of_the_campaign(number: int, record_property: Callable[[str, object], None]) -> None:
    """Shards are dealt to as many parts as keep two processes busy to the end."""
    for shard in campaign.shards()[number :: campaign.PARTS]:
        counts = campaign.run_shard(shard)
        assert sum(counts.values()) == campaign.count_shard(shard)
        for outcome, count in counts.items():
            kind = f"{shard.scenario}{', cut twice' if shard.second else ''}: {outcome.value}"
            record_property("campaign", (kind, count))
