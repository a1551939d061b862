"""Instants and durations as the command line takes them: `12h`, `90d`, `2027-01-31`, `2027-01-31T18:00:00Z`."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

import typer

from registry.cli.output import show_instant

AT, EXPIRES, SINCE = "'--at'", "'--expires'", "'--since'"
_SECOND, _MINUTE = 1_000, 60_000  # milliseconds
_UNITS = {"m": _MINUTE, "h": 60 * _MINUTE, "d": 24 * 60 * _MINUTE}
_DURATION = re.compile(r"([1-9][0-9]{0,5})([mhd])", re.ASCII)
_INSTANT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
    r"([T ][0-9]{2}:[0-9]{2}(?P<second>:[0-9]{2}(?P<fraction>\.[0-9]{1,6})?)?(Z|[+-][0-9]{2}:[0-9]{2})?)?",
    re.ASCII,
)
_LATEST = 253_402_300_800_000  # the year 10000, which nobody can write


@dataclass(frozen=True, slots=True)
class Moment:
    """An instant in Unix milliseconds; a distance from now if `is_relative`; no instant at all for `never`."""

    milliseconds: int | None
    is_relative: bool = False

    def before(self, now: int) -> int:
        """The start of a look back, in Unix milliseconds."""
        span = self.milliseconds or 0
        return max(0, now - span) if self.is_relative else span

    def after(self, now: int) -> int | None:
        """When something ends, in Unix milliseconds; None for never. Raises BadParameter for what is past."""
        if self.milliseconds is None:
            return None
        end = now + self.milliseconds if self.is_relative else self.milliseconds
        if end <= now:
            raise typer.BadParameter(
                f"{show_instant(end)} has gone: give an instant that is to come", param_hint=EXPIRES
            )
        return end


def parse_since(text: str, option: str = SINCE) -> Moment:
    """Raises BadParameter."""
    found = _parse(text)
    if found is None:
        raise typer.BadParameter(
            f"it is a duration such as 90m, 24h and 7d, or an instant such as 2027-01-31, not {text!r}",
            param_hint=option,
        )
    return found


def parse_at(text: str) -> Moment:
    """What `--at` takes where it looks back: a second is its end, for tables show instants cut to it.

    So what is shown can be typed back. Raises BadParameter.
    """
    moment = parse_since(text, AT)
    written = _INSTANT.fullmatch(text)
    if moment.milliseconds is not None and written and written["second"] and not written["fraction"]:
        return Moment(moment.milliseconds + _SECOND - 1)
    return moment


def parse_future(text: str) -> Moment:
    """What `--at` takes where it shows what comes: a duration counts from now on. Raises BadParameter."""
    found = _parse(text)
    if found is None:
        raise typer.BadParameter(
            f"it is an instant such as 2027-01-31, or a duration from now such as 30d, not {text!r}", param_hint=AT
        )
    return found


def parse_expiry(text: str) -> Moment:
    """Raises BadParameter."""
    found = Moment(None) if text == "never" else _parse(text)
    if found is None:
        raise typer.BadParameter(
            f"it is a duration such as 12h and 90d, an instant such as 2027-01-31, or never, but not {text!r}",
            param_hint=EXPIRES,
        )
    return found


def _parse(text: str) -> Moment | None:
    """A date is its beginning; without a zone it is UTC."""
    if duration := _DURATION.fullmatch(text):
        return Moment(int(duration[1]) * _UNITS[duration[2]], is_relative=True)
    if not _INSTANT.fullmatch(text):
        return None
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:  # 30 February
        return None
    zoned = instant if instant.tzinfo else instant.replace(tzinfo=UTC)
    milliseconds = round(zoned.timestamp() * 1000)
    return Moment(milliseconds) if 0 <= milliseconds < _LATEST else None
