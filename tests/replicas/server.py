"""The product's own server with short times: `python -m tests.replicas.server`, configured by ENTREPOT_* as usual.

What takes minutes with the product's windows takes seconds here; nothing else differs.
"""

from registry import app, logs
from registry.garbage import Windows
from registry.server import serve
from registry.sources import load

TERM = 2_000  # milliseconds
LINGER = 1  # seconds in which load balancers may see that it ends
WINDOWS = Windows(undelete_days=0, lease=3_600_000, settle=2 * TERM, quiet=TERM, term=TERM)


def ignore_address(_host: str, _port: int) -> None:
    """Whoever started this server chose its port."""


def main() -> None:
    config, _ = load()
    logs.configure(config.log_format)
    app._MOST_LINGER_SECONDS = LINGER
    serve(app.create_app(config, windows=WINDOWS), config, ignore_address, None)


if __name__ == "__main__":
    main()
