"""What access control costs: requests per second with a login, as a ratio to those of a registry without users.

Two servers on copies of the same data, one without users (protected mode) and one with a user, are loaded in turns by
short runs. Each pair of runs gives two ratios, and the medians of these are the results: `ratio` of the requests per
second, and `work` of the requests per second of the server's processor time, which other programs disturb less.
Absolute numbers say little about another machine. With wrk (on Debian: apt-get install wrk) the load itself costs less.
"""

import argparse
import base64
import hashlib
import http.client
import json
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.load import Call, find_wrk, repeat
from benchmarks.serving import SERVER, Server, send, serving, settings

REPOSITORY = "benchmark/app"
USER, PASSWORD = "benchmark", "of-a-registry-that-lives-for-seconds"
BASIC = {"Authorization": f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"}
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
GOAL = 0.9  # of a cached token


@dataclass(frozen=True)
class Comparison:
    name: str
    without: Call
    with_login: Call


@dataclass(frozen=True)
class Rates:
    """Requests in a second of time, and in one of the server's processor time."""

    per_second: float
    per_processor_second: float


@dataclass(frozen=True)
class Measured:
    """The runs of the two sides, those of one pair at the same index."""

    name: str
    without: list[Rates]
    with_login: list[Rates]

    def show(self) -> dict[str, Any]:
        pairs = list(zip(self.without, self.with_login, strict=True))
        ratios = sorted(b.per_second / a.per_second for a, b in pairs)
        work = sorted(b.per_processor_second / a.per_processor_second for a, b in pairs)
        return {
            "name": self.name,
            "ratio": round(statistics.median(ratios), 3),
            "ratio_quartiles": [round(ratio, 3) for ratio in statistics.quantiles(ratios, n=4)[::2]],
            "work": round(statistics.median(work), 3),
            "work_quartiles": [round(ratio, 3) for ratio in statistics.quantiles(work, n=4)[::2]],
            "without": round(statistics.median(run.per_second for run in self.without)),
            "with_login": round(statistics.median(run.per_second for run in self.with_login)),
        }


def push_image(port: int) -> str:
    """Push a blob and a manifest that names it; returns the blob's digest."""
    blob = b"{}"
    digest = f"sha256:{hashlib.sha256(blob).hexdigest()}"
    descriptor = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest, "size": len(blob)}
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST_TYPE, "config": descriptor, "layers": [descriptor] * 8}
    target = f"/v2/{REPOSITORY}"
    statuses = [
        send(port, "POST", f"{target}/blobs/uploads/?digest={digest}", blob)[0],
        send(port, "PUT", f"{target}/manifests/1", json.dumps(manifest).encode(), {"Content-Type": MANIFEST_TYPE})[0],
    ]
    if statuses != [201, 201]:
        raise SystemExit(f"the push was answered with {statuses}")
    return digest


def add_user(folder: Path) -> None:
    for arguments in (["add", USER, "--password-stdin"], ["grant", USER, "benchmark/**", "pull,push"]):
        command = [str(SERVER), "user", *arguments]
        subprocess.run(command, env=settings(folder), input=PASSWORD.encode(), capture_output=True, check=True)


def token_path(port: int) -> str:
    """Where a token for pulls is had, with the service that the challenge names."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/v2/")
    challenge = connection.getresponse().headers["WWW-Authenticate"]
    connection.close()
    service = challenge.partition('service="')[2].partition('"')[0]
    return f"/token?service={service}&scope=repository:{REPOSITORY}:pull"


def make_comparisons(without: int, with_login: int, digest: str) -> list[Comparison]:
    """Between the servers on two ports."""
    asked = token_path(with_login)
    status, answer = send(with_login, "GET", asked, headers=BASIC)
    if status != http.HTTPStatus.OK:
        raise SystemExit(f"no token was had: {status} {answer!r}")
    token = json.loads(answer)["token"]
    bearer = {"Authorization": f"Bearer {token}"}
    manifest, blob = f"/v2/{REPOSITORY}/manifests/1", f"/v2/{REPOSITORY}/blobs/{digest}"
    anonymous = Call(without, manifest)
    return [
        Comparison("manifest GET, cached token", anonymous, Call(with_login, manifest, headers=bearer)),
        Comparison("manifest GET, password", anonymous, Call(with_login, manifest, headers=BASIC)),
        Comparison("blob HEAD, cached token", Call(without, blob, "HEAD"), Call(with_login, blob, "HEAD", bearer)),
        Comparison("token GET : manifest GET", anonymous, Call(with_login, asked, headers=BASIC)),
        Comparison("manifest GET, no users : same", anonymous, anonymous),  # what is noise
    ]


def measure_run(call: Call, server: Server, seconds: float, wrk: str | None) -> Rates:
    began = server.processor_seconds()
    answered, took = repeat(call, seconds, wrk)
    return Rates(answered / took, answered / (server.processor_seconds() - began))


def measure(comparison: Comparison, servers: Sequence[Server], pairs: int, seconds: float) -> Measured:
    by_port = {server.port: server for server in servers}
    wrk = find_wrk()
    for call in (comparison.without, comparison.with_login):
        repeat(call, seconds / 4)  # sees that each answer is right
    first: list[Rates] = []
    second: list[Rates] = []
    for number in range(pairs):
        # The order changes, so that what warms up or slows down hits both.
        sides = [(comparison.without, first), (comparison.with_login, second)]
        for call, rates in sides if number % 2 == 0 else reversed(sides):
            rates.append(measure_run(call, by_port[call.port], seconds, wrk))
    return Measured(comparison.name, first, second)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=10, help="of runs for each comparison (default: 10)")
    parser.add_argument("--seconds", type=float, default=2, help="of one run (default: 2)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return parser.parse_args()


def main() -> None:
    chosen = arguments()
    with tempfile.TemporaryDirectory(prefix="entrepot-benchmark-") as name, ExitStack() as running:
        without, with_login = Path(name) / "without", Path(name) / "with"
        without.mkdir()
        with serving(without) as server:
            digest = push_image(server.port)
        shutil.copytree(without, with_login)
        add_user(with_login)
        servers = [running.enter_context(serving(folder)) for folder in (without, with_login)]
        comparisons = make_comparisons(servers[0].port, servers[1].port, digest)
        found = [measure(one, servers, chosen.pairs, chosen.seconds).show() for one in comparisons]
    generator = "wrk" if find_wrk() else "asyncio"
    if chosen.json:
        print(json.dumps({"generator": generator, "goal": GOAL, "comparisons": found}, indent=2))
    else:
        print(
            f"with a login : without users, {chosen.pairs} pairs of {chosen.seconds:g} s, {generator}",
            *table(found),
            sep="\n",
        )


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    yield f"{'':32}{'ratio':>6}  {'quartiles':14}{'work':>6}  {'quartiles':14}{'without/s':>9}{'with/s':>9}"
    for row in rows:
        (low, high), (least, most) = row["ratio_quartiles"], row["work_quartiles"]
        ratios = f"{row['ratio']:6.3f}  {low:.3f}-{high:.3f}   {row['work']:6.3f}  {least:.3f}-{most:.3f}   "
        yield f"{row['name']:32}{ratios}{row['without']:9}{row['with_login']:9}"


if __name__ == "__main__":
    main()
