"""The edge is tried out with the uvicorn that is installed, and what does not work is left out, with a warning."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import uvicorn
from structlog.testing import capture_logs
from uvicorn.server import ServerState

from registry.edge.connection import Connection
from registry.edge.limits import EdgeLimits
from registry.edge.trial import Findings, try_out
from registry.server import _settings
from tests.places import make_config


class Failing(Connection):
    """Answers, but not what the application has said."""

    def write(self, content: bytes) -> None:
        super().write(content.replace(b"200 OK", b"500 No"))


class OfAnotherServer(Connection):
    """What a server makes that names other parts than those that it is given."""

    def __init__(self, limits: EdgeLimits, *, settings: uvicorn.Config) -> None:
        super().__init__(limits, config=settings, server_state=ServerState(), app_state={})


class Unsent(Connection):
    """On a system that sends no files."""

    async def send_file(self, *_: object) -> int:
        raise OSError


TRIALS: dict[str, tuple[Callable[..., Any], Findings, int]] = {
    "all is well": (Connection, Findings(serves=True, sends_files=True), 0),
    "other answers": (Failing, Findings(serves=False, sends_files=False), 1),
    "another server": (OfAnotherServer, Findings(serves=False, sends_files=False), 1),
    "no files": (Unsent, Findings(serves=True, sends_files=False), 1),
}


@pytest.mark.parametrize(("protocol", "findings", "warnings"), TRIALS.values(), ids=TRIALS)
def test_trials(protocol: Callable[..., Any], findings: Findings, warnings: int) -> None:
    """What works is found, and each thing that does not has one warning."""
    with capture_logs() as lines:
        assert try_out(partial(protocol, EdgeLimits())) == findings
    assert [line["log_level"] for line in lines if line["log_level"] == "warning"] == ["warning"] * warnings


def test_what_serves_then(tmp_path: Any) -> None:
    """Uvicorn's own HTTP, where ours does not work."""
    config = make_config(tmp_path)
    assert _settings(Connection, config, Findings(serves=False, sends_files=False)).http == "httptools"  # type: ignore[arg-type]  # no app is called
