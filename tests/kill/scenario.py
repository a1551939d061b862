"""The scenario of all crash tests: push until the server dies, start it again, compare, push again, compare."""

from pathlib import Path

from tests.kill import running, workload
from tests.kill.client import Client
from tests.kill.history import History
from tests.kill.pusher import Pusher, Refused
from tests.kill.running import RunningServer
from tests.kill.verification import find_faults


class Crash:
    """One crash of a server on the directory `storage`, and what a client finds afterwards."""

    def __init__(self, storage: Path, notes: Path) -> None:
        self.storage = storage
        self._notes = notes
        self.log = notes / "server.log"
        self.history = History()

    def push_until_killed(self, point: str, at: int, *program: str) -> None:
        """Push to a server that kills itself at the `at`-th arrival at the kill point."""
        command = [str(running.PYTHON), "-m", *(program or ("tests.kill.server",)), "--kill", point, "--at", str(at)]
        server = RunningServer(command, self.storage, self.log)
        if server.wait_ready():
            workload.run(server.port, self.history)
        server.wait_killed()

    def find_faults(self, *, may_lose_sessions: bool = False) -> list[str]:
        """Start the plain server on what is left and return everything that is wrong, in words."""
        server = running.start(self.storage, self.log)
        try:
            faults = find_faults(server.port, self.history)
            faults += _nothing_or(running.check(self.storage))
            if not faults:
                faults += self._resume(server.port, may_lose_sessions)
                workload.run(server.port, self.history)
                faults += find_faults(server.port, self.history)
        finally:
            server.stop()
        (self._notes / "history.log").write_text("\n".join([*self.history.log, *faults]))
        return faults

    def _resume(self, port: int, may_lose_sessions: bool) -> list[str]:
        """Go on with every open session. A cancel or a power cut may have taken its bytes: then using it is a 404."""
        faults = []
        with Client(port) as client:
            for session in list(self.history.sessions.values()):
                if session.may_be_closed and client.call("GET", session.location).status == 404:
                    del self.history.sessions[session.location]
                    continue
                try:
                    Pusher(client, self.history, session.repository).resume(session)
                except Refused as refused:
                    del self.history.sessions[session.location]
                    may_be_lost = may_lose_sessions or session.may_be_cancelled
                    if refused.status != 404 or not may_be_lost:
                        faults.append(str(refused))
        return faults


def _nothing_or(text: str) -> list[str]:
    return [text] if text else []
