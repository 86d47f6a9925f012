"""Prints the table of goldens at the end of `pytest -m golden`."""

from __future__ import annotations

import pytest

RESULTS = pytest.StashKey[list[tuple[str, int, int, float]]]()


def pytest_configure(config):
    config.stash[RESULTS] = []


@pytest.fixture
def record_golden(request):
    """A function (name, parameters, macs, error) that adds a line to the table."""
    return lambda *line: request.config.stash[RESULTS].append(line)


def pytest_terminal_summary(terminalreporter, config):
    results = config.stash.get(RESULTS, [])
    if not results:
        return
    terminalreporter.section("goldens: largest difference of the logits over the largest logit")
    terminalreporter.write_line(f"{'network':26}{'parameters':>14}{'MACs':>18}{'error':>10}")
    for name, parameters, macs, error in sorted(results):
        terminalreporter.write_line(f"{name:26}{parameters:>14,}{macs:>18,}{error:>10.1e}")
