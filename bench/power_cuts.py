"""The reference bootloader under power cuts: how fast the campaign of tests/faults goes, and how long it is."""

from __future__ import annotations

from bench.figures import Figure

_SAMPLE_SECONDS = 20.0


def measure_power_cuts() -> list[Figure]:
    """One process, over cuts spread evenly over the campaign; each is cut, recovered from and examined."""
    from tests.faults.campaign import count_campaign, run_sample

    count = count_campaign()
    run_sample(_SAMPLE_SECONDS / 10)
    return [
        Figure("power cuts, recovered from and examined, one process", run_sample(_SAMPLE_SECONDS), "scenarios/s"),
        Figure("power cuts in the full campaign, second cuts included", count, "scenarios"),
    ]
