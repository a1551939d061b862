"""What the server tells a person at its start: what it serves, to whom, from where, and what to try."""

from registry.config import Config

_ACCESS = {
    None: (
        "protected mode: everyone on this machine may pull, push and delete, nobody else is served\n"
        "(ENTREPOT_ANONYMOUS=pull or push opens it to others)"
    ),
    "none": "nobody without credentials may do anything (ENTREPOT_ANONYMOUS=none)",
    "pull": "everyone may pull (ENTREPOT_ANONYMOUS=pull)",
    "push": "everyone may pull and push (ENTREPOT_ANONYMOUS=push)",
}
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, not listened on
_MARGIN = 10


def make_banner(config: Config, host: str, port: int, version: str) -> str:
    """`host` and `port` are those of the listening socket."""
    address = _address(config, host, port)
    facts = {"data": str(config.data.absolute())}
    if config.database:
        facts["database"] = str(config.database_path)
    if config.storage:
        facts["blobs"] = str(config.storage_path)
    facts["access"] = _ACCESS[config.anonymous]
    if config.anonymous in (None, "push"):
        image = f"{address}/demo/app:1"
        facts["try"] = f"docker pull busybox\ndocker tag busybox {image}\ndocker push {image}"
    if not config.public_url and host in _EVERYWHERE:
        facts["note"] = "docker on other machines wants TLS: put a proxy in front, or name it in insecure-registries"
    facts["stop"] = "Ctrl+C"
    url = config.public_url or f"http://{_bracketed(host)}:{port}"
    lines = [f"Entrepot {version} serves container images at {url}", *map(_line, facts, facts.values())]
    return "\n".join(lines)


def _address(config: Config, host: str, port: int) -> str:
    """The registry as docker names it on this machine, or everywhere when there is a public URL."""
    if config.public_url:
        return config.public_url.partition("://")[2]
    return f"{_bracketed(_EVERYWHERE.get(host, host))}:{port}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _line(name: str, text: str) -> str:
    return f"  {name:<{_MARGIN}}" + text.replace("\n", "\n" + " " * (_MARGIN + 2))
