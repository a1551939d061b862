"""Imports every module of the product and prints, as JSON, what that did besides. Run by test_shape.py."""

import importlib
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[1]
EFFECTS = {
    "_thread.start_new_thread",
    "_thread.start_joinable_thread",
    "os.chmod",
    "os.link",
    "os.mkdir",
    "os.putenv",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.symlink",
    "os.system",
    "os.truncate",
    "signal.pthread_kill",
    "socket.bind",
    "socket.connect",
    "sqlite3.connect",
    "subprocess.Popen",
}
# urllib3 asks the system once whether it has IPv6, by binding a socket that it closes again.
NOT_OURS = "urllib3/util/connection.py"


def main() -> None:
    effects: list[str] = []

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        is_effect = event in EFFECTS or (event == "open" and _is_for_writing(arguments))
        if is_effect and not sys._getframe(1).f_code.co_filename.endswith(NOT_OURS):
            effects.append(f"{event} {arguments[:1]}")

    sys.addaudithook(watch)
    modules = [name for folder in ("storage", "registry", "conformance") for name in _modules(PROJECT / folder)]
    for name in modules:
        importlib.import_module(name)
    print(json.dumps({"modules": modules, "effects": effects, "threads": threading.active_count()}))


def _is_for_writing(arguments: tuple[Any, ...]) -> bool:
    path, mode, flags = arguments
    if isinstance(mode, str):
        return any(letter in mode for letter in "wax+") and path != os.devnull
    return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


def _modules(folder: Path) -> list[str]:
    paths = sorted(path.relative_to(PROJECT).with_suffix("") for path in folder.rglob("*.py"))
    return [".".join(path.parts).removesuffix(".__init__") for path in paths]


if __name__ == "__main__":
    main()
