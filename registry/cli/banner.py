"""What the server tells a person at its start: what it serves, to whom, from where, and what to try."""

from registry.cli.places import show_blobs, show_database
from registry.config import Config

_OPEN = {
    None: (
        "protected mode: everyone on this machine may pull, push and delete, nobody else is served\n"
        "(`entrepot user add NAME --admin` ends it; ENTREPOT_ANONYMOUS=pull or push opens it to others)"
    ),
    "none": "nobody may do anything (ENTREPOT_ANONYMOUS=none) until `entrepot user add NAME --admin`",
    "pull": "everyone may pull (ENTREPOT_ANONYMOUS=pull)",
    "push": "everyone may pull and push (ENTREPOT_ANONYMOUS=push)",
}
_STRANGERS = {
    None: "nothing, unless granted to anonymous",
    "none": "nothing, unless granted to anonymous (ENTREPOT_ANONYMOUS=none)",
    "pull": "pull everywhere (ENTREPOT_ANONYMOUS=pull)",
    "push": "pull and push everywhere (ENTREPOT_ANONYMOUS=push)",
}
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, not listened on
_MARGIN = 10


def make_banner(config: Config, host: str, port: int, version: str, *, is_guarded: bool = False) -> str:
    """`host` and `port` are those of the listening socket; `is_guarded`: somebody can log in."""
    address = docker_address(config, host, port)
    facts = {} if config.database and config.storage else {"data": str(config.data.absolute())}
    if config.database:
        facts["database"] = show_database(config)
    if config.storage:
        facts["blobs"] = show_blobs(config)
    if is_guarded:
        facts["access"] = f"users and robots with their grants; strangers: {_STRANGERS[config.anonymous]}"
    else:
        facts["access"] = _OPEN[config.anonymous]
    if is_guarded or config.anonymous in (None, "push"):
        image = f"{address}/demo/app:1"
        login = f"docker login {address}\n" if is_guarded else ""
        facts["try"] = f"{login}docker pull busybox\ndocker tag busybox {image}\ndocker push {image}"
    if not config.public_url and host in _EVERYWHERE and config.scheme == "http":
        facts["note"] = (
            "docker on other machines wants TLS: give ENTREPOT_TLS_CERT and ENTREPOT_TLS_KEY, put a proxy in front,\n"
            "or name it in insecure-registries"
        )
    facts["stop"] = "Ctrl+C"
    url = config.public_url or own_url(config, host, port)
    lines = [f"Entrepot {version} serves container images at {url}", *map(_line, facts, facts.values())]
    return "\n".join(lines)


def own_url(config: Config, host: str, port: int) -> str:
    """Where the socket itself is reached, whatever stands in front of it."""
    return f"{config.scheme}://{_bracketed(host)}:{port}"


def docker_address(config: Config, host: str, port: int) -> str:
    """The registry as docker names it on this machine, or everywhere when there is a public URL."""
    if config.public_url:
        return config.public_url.partition("://")[2]
    return f"{_bracketed(_EVERYWHERE.get(host, host))}:{port}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _line(name: str, text: str) -> str:
    return f"  {name:<{_MARGIN}}" + text.replace("\n", "\n" + " " * (_MARGIN + 2))
