"""The report of the client scenarios: a line for each with its seconds, then one for all."""

from collections import defaultdict

import pytest


class ScenarioReport:
    """Counts a scenario as passed only when its set-up, its call and its clean-up passed; a skipped one has failed."""

    def __init__(self, config: pytest.Config) -> None:
        terminal = config.pluginmanager.get_plugin("terminalreporter")
        assert isinstance(terminal, pytest.TerminalReporter)
        self._terminal = terminal
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._failed: set[str] = set()

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str]:
        if report.failed and report.when != "call":
            return "error", "", ""
        return report.outcome, "", ""  # no letter or word beside our own lines

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if not report.passed:
            self._failed.add(report.nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._seconds[report.nodeid] += report.duration
        if not report.passed:
            self._failed.add(report.nodeid)
        if report.when == "teardown":
            outcome = "FAILED" if report.nodeid in self._failed else "passed"
            scenario = report.nodeid.removeprefix("tests/clients/")
            self._terminal.write_line(f"{outcome} {self._seconds[report.nodeid]:6.1f} s  {scenario}")

    @pytest.hookimpl(trylast=True)
    def pytest_terminal_summary(self) -> None:
        passed = len(self._seconds.keys() - self._failed)
        self._terminal.write_line(f"{passed} passed, {len(self._failed)} failed")

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._failed and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
