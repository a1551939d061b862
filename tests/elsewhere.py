"""Tests about another database or store than those under test are not collected; the run says how many, and why."""

from collections import Counter
from typing import Any

import pytest

from tests.places import Place, place_under_test

_KEY = "elsewhere"


class Elsewhere:
    """The plugin; with pytest-xdist the workers collect, and the first one tells for all."""

    def __init__(self) -> None:
        self._reasons: Counter[str] = Counter()

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        reasons = {item: _find_reason(item) for item in items}
        self._reasons.update(reason for reason in reasons.values() if reason)
        config.hook.pytest_deselected(items=[item for item in items if reasons[item]])
        items[:] = [item for item in items if not reasons[item]]

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        output = getattr(session.config, "workeroutput", None)
        if output is not None:
            output[_KEY] = dict(self._reasons)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        self._reasons = self._reasons or Counter(getattr(node, "workeroutput", {}).get(_KEY, {}))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._reasons:
            terminalreporter.section(f"on {place_under_test()}: {self._reasons.total()} tests have no place here")
            for reason, count in sorted(self._reasons.items()):
                terminalreporter.line(f"{count:5}  {reason}")


def _find_reason(item: pytest.Item) -> str:
    """Why the test has no place here; nothing when it has."""
    chosen = (
        item.callspec.params.get("place") if isinstance(item, pytest.Function) and hasattr(item, "callspec") else None
    )
    place = chosen if isinstance(chosen, Place) else place_under_test()
    for mark in item.iter_markers("only_on"):
        kind, why = mark.args
        if not place.has(kind):
            return f"only on {kind}: {why}"
    return ""
