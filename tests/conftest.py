"""What every test folder shares: the hypothesis profiles. Fixtures live beside the tests that need them."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import HealthCheck, settings

# `make test` gives the same result twice: examples derive from the test itself. Random exploration is the campaign's.
# Deadlines are off, and slow generation is tolerated, because a shared two-core machine stalls at times.
settings.register_profile(
    "default", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "campaign", deadline=None, max_examples=2000, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("default")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the campaign counted: tests leave it as properties named "campaign"."""
    counts: Counter[str] = Counter()
    for report in terminalreporter.stats.get("passed", []):
        for name, value in report.user_properties:
            if name == "campaign":
                kind, count = value
                counts[kind] += count
    if counts:
        terminalreporter.section("campaign")
        for kind, count in sorted(counts.items()):
            terminalreporter.write_line(f"{count:10,}  {kind}")
        terminalreporter.write_line(f"{sum(counts.values()):10,}  scenarios, each ended as it must")
