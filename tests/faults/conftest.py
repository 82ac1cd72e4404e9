"""The report of the fault tests: what was done to the servers, and what it did to the data."""

import pytest

from tests.faults.token_load import totals


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line at the end, so that a run says how hard it tried."""
    if totals:
        names = ("kills", "writes", "reads", "refused", "tears", "tears_of_controls")
        terminalreporter.write_line("faults: " + ", ".join(f"{totals[name]} {name}" for name in names))
