"""The lifecycle's built-in clock: a child process with the server's own settings."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from registry.clockwork import LIFECYCLE_RUN, Clockwork, make_environment
from registry.config import Config
from registry.sources import load
from tests.waiting import wait_until

pytestmark = pytest.mark.anyio

# A value for each setting that is not its default, and that the server of this machine could have.
CHANGED = {
    "data": Path("elsewhere"),
    "storage": "s3://bucket/blobs",
    "database": "postgresql://me:secret@db.example/entrepot",
    "database_connections": 5,
    "s3_endpoint": "https://s3.example:9000",
    "s3_region": "eu-central-1",
    "s3_public_endpoint": "https://images.example",
    "s3_redirects": "off",
    "s3_encryption": "aws:kms:alias/one",
    "s3_storage_class": "STANDARD_IA",
    "s3_checksums": "when_required",
    "s3_addressing": "path",
    "upload_memory_mib": 64,
    "host": "::1",
    "port": 0,
    "workers": 1,
    "tls_cert": Path("chain.pem"),
    "tls_key": Path("key.pem"),
    "public_url": "https://registry.example",
    "trusted_proxies": "10.0.0.0/8,127.0.0.1",
    "anonymous": "pull",
    "admin_user": "root",
    "admin_password_file": Path("secret"),
    "requests_per_second": 2.5,
    "undelete_days": 0,
    "lifecycle_hours": 0.5,
    "lifecycle_keys": "ecr",
    "brake_percent": 10,
    "collector": "off",
    "scrub_mib_per_second": 0.25,
    "reserve_mib": 0,
    "sparse_manifests": "accept",
    "metrics": "public",
    "body_idle_seconds": 1.5,
    "bytes_per_second": 0,
    "manifest_bytes": 4096,
    "blob_bytes": 1,
    "uploads_at_once": 1,
    "target_bytes": 2048,
    "header_bytes": 4096,
    "header_count": 20,
    "header_seconds": 0.5,
    "idle_seconds": 60.5,
    "edge": "off",
    "drain_seconds": 0,
    "log_format": "json",
}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def child(script: str) -> Clockwork:
    return Clockwork((sys.executable, "-c", script), dict(os.environ))


@pytest.mark.parametrize("settings", [{}, CHANGED], ids=["defaults", "changed"])
def test_the_child_has_the_servers_settings(settings: dict[str, object]) -> None:
    """All of them, whatever the environment, the file and the flags of the server were, and nothing else of ours."""
    config = Config.model_validate(settings)
    inherited = {
        "PATH": "/bin",
        "ENTREPOT_PORT": "1",
        "ENTREPOT_CONFIG": "/etc/gone.toml",
        "ENTREPOT_ANONYMOUS": "none",
    }
    environment = make_environment(config.model_dump(), inherited)
    assert environment["PATH"] == "/bin"
    assert "ENTREPOT_CONFIG" not in environment
    assert load(environment=environment)[0] == config


def test_every_setting_is_tried() -> None:
    """A setting that is added later must reach the child, too."""
    assert CHANGED.keys() == Config.model_fields.keys()


async def test_it_starts_our_own_command(tmp_path: Path) -> None:
    """The interpreter of the server runs `entrepot`, installed or not, with the settings in its environment."""
    environment = make_environment(Config(data=tmp_path, brake_percent=7).model_dump(), os.environ)
    program = await asyncio.create_subprocess_exec(
        *LIFECYCLE_RUN[:-2], "config", "show", "--json", env=environment, stdout=asyncio.subprocess.PIPE
    )
    shown, _ = await program.communicate()
    assert program.returncode == 0
    values = {each["name"]: each["value"] for each in json.loads(shown)["settings"]}
    assert values["brake_percent"] == 7


async def test_the_summary_comes_into_the_log() -> None:
    """The last line of what it prints, in one line of the log."""
    with capture_logs() as entries:
        await child("print('REPOSITORY  REMOVED'); print('1 run: 3 images removed')").run()
    assert entries == [{"event": "lifecycle run", "log_level": "info", "summary": "1 run: 3 images removed"}]


async def test_a_run_that_was_stopped_is_an_error_in_the_log() -> None:
    """With its status, its summary and what it complained of."""
    with capture_logs() as entries:
        await child("import sys; print('1 run stopped'); print('go on with apply', file=sys.stderr); sys.exit(1)").run()
    (entry,) = entries
    assert (entry["log_level"], entry["status"]) == ("error", 1)
    assert (entry["summary"], entry["problem"]) == ("1 run stopped", "go on with apply")


async def test_one_that_talks_without_end_takes_no_memory() -> None:
    """Only the end of it is kept, and neither pipe makes it wait."""
    with capture_logs() as entries:
        await child(
            "import sys\nfor _ in range(100_000): print('x' * 50); print('y' * 50, file=sys.stderr)\nsys.exit(1)"
        ).run()
    assert entries[0]["summary"] == "x" * 50
    assert len(entries[0]["problem"]) <= 4_000


async def test_it_goes_behind_the_server() -> None:
    """The child is nice, and Ctrl+C at the server's terminal is not for it."""
    wait = "import os, time\nwhile os.getpriority(os.PRIO_PROCESS, 0) < 10: time.sleep(0.01)\n"
    with capture_logs() as entries:
        await child(f"{wait}print(os.getpriority(os.PRIO_PROCESS, 0), os.getsid(0) == os.getpid())").run()
    assert entries[0]["summary"] == "10 True"


@pytest.mark.parametrize("is_deaf", [False, True])
async def test_it_ends_with_the_server(tmp_path: Path, is_deaf: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancelled it is terminated, killed when it does not listen, and waited for."""
    monkeypatch.setattr("registry.clockwork._TERMINATION_SECONDS", 0.1)
    started = tmp_path / "started"
    deafness = "signal.signal(signal.SIGTERM, signal.SIG_IGN); " if is_deaf else ""
    script = (
        f"import os, pathlib, signal, time; {deafness}"
        f"p = pathlib.Path({str(started)!r}); p.with_suffix('.new').write_text(str(os.getpid()));"
        " p.with_suffix('.new').rename(p); time.sleep(600)"
    )
    running = asyncio.create_task(child(script).run())
    await asyncio.to_thread(wait_until, started.exists, "the child runs")
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    with pytest.raises(ProcessLookupError):
        os.kill(int(started.read_text()), 0)


async def test_a_command_that_is_not_there() -> None:
    """What cannot be started is the caller's to know."""
    with pytest.raises(OSError, match="No such file"):
        await Clockwork(("/no/such/program",), {}).run()
