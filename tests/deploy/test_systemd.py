"""What systemd makes of the units, as far as that can be said without systemd: make faults asks systemd itself."""

import re
from pathlib import Path

import pytest

from registry.sources import load

from .files import UNITS, Unit, units
from .settings import seconds_to_end

SERVICES = {unit.name.removesuffix(".service"): unit for unit in units("service")}
TIMERS = {unit.name.removesuffix(".timer"): unit for unit in units("timer")}
SETTINGS = load(UNITS / "entrepot.toml", environment={})[0]
# What every service has in the same words.
SHARED = re.compile(
    r"User|Group|UMask|StateDirectory\w*|WorkingDirectory|Environment|Protect\w+|Private\w+|Restrict\w+|System\w+"
)


def hardening(unit: Unit) -> list[tuple[str, str]]:
    return [(option, value) for _, option, value in unit.lines if SHARED.fullmatch(option)]


@pytest.mark.parametrize("name", SERVICES)
def test_services_are_alike(name: str) -> None:
    """Each service is confined as the server is, as the same user, and reads the same settings."""
    assert hardening(SERVICES[name]) == hardening(SERVICES["entrepot"])
    assert SERVICES[name].one("NoNewPrivileges") == "yes"
    assert SERVICES[name].one("CapabilityBoundingSet") == ""
    assert SERVICES[name].one("ProtectSystem") == "strict"
    assert SERVICES[name].one("Environment") == "ENTREPOT_CONFIG=/etc/entrepot/entrepot.toml"


@pytest.mark.parametrize("name", SERVICES)
def test_user(name: str) -> None:
    """The user is a fixed one that sysusers makes, since commands run as whoever owns the files."""
    (line,) = directives("entrepot.sysusers")
    assert line[:3] == ["u", SERVICES[name].one("User"), "-"]
    assert SERVICES[name].all("DynamicUser") == []


def test_folders() -> None:
    """The data is in the directory that systemd makes, and what else is read or written tmpfiles makes."""
    state = Path("/var/lib") / SERVICES["entrepot"].one("StateDirectory")
    assert SETTINGS.data == state == Path(SERVICES["entrepot"].one("WorkingDirectory"))
    made = {line[1]: line[2] for line in directives("entrepot.tmpfiles")}
    written = {path for unit in SERVICES.values() for path in unit.all("ReadWritePaths")}
    assert made == {"/etc/entrepot": "0750", "/var/backups/entrepot": "0700"}
    assert written == {"/var/backups/entrepot"}


def directives(name: str) -> list[list[str]]:
    lines = (UNITS / name).read_text().splitlines()
    return [line.split() for line in lines if line and not line.startswith("#")]


def test_requests_in_flight_may_end() -> None:
    """The server is killed later than it gives up on its last requests itself."""
    assert int(SERVICES["entrepot"].one("TimeoutStopSec")) > seconds_to_end(SETTINGS)
    assert SERVICES["entrepot"].one("Type") == "exec"


@pytest.mark.parametrize("name", ["entrepot-lifecycle", "entrepot-backup"])
def test_timers(name: str) -> None:
    """What a timer starts runs once and ends, behind the requests, and also when the machine was off at its hour."""
    assert SERVICES[name].one("Type") == "oneshot"
    assert SERVICES[name].one("Nice") == "10"
    assert TIMERS[name].one("Persistent") == "true"
    assert TIMERS[name].one("WantedBy") == "timers.target"
    assert SERVICES[name].all("WantedBy") == []
    assert TIMERS.keys() == SERVICES.keys() - {"entrepot"}


def test_old_backups_go_after_a_new_one() -> None:
    """A backup that fails takes none of its predecessors away: removing is a step after it, not a rule about age."""
    assert "-delete" in SERVICES["entrepot-backup"].one("ExecStartPost")
    ages = [line[5:] for line in directives("entrepot.tmpfiles")]
    assert ages == [["-"], ["-"]]
