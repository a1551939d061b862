"""The composition root: settings → stores → rules → endpoints → application. Importing it has no effect."""

import contextlib
import os
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from importlib import metadata

import structlog
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Route

from registry.api.blobs import BlobEndpoints
from registry.api.challenge import Challenger
from registry.api.door import Door
from registry.api.errors import on_http_exception, on_registry_error, on_unexpected
from registry.api.gauges import RemovalGauges
from registry.api.guard import Guard
from registry.api.head import HeadLimits
from registry.api.health import Ending, HealthEndpoints
from registry.api.manifests import ManifestEndpoints
from registry.api.observe import Observer
from registry.api.repeats import Repeats
from registry.api.repositories import RepositoryEndpoints
from registry.api.request_log import RequestLog, StructuredLog
from registry.api.routes import Distribution, make_routes
from registry.api.tokens import TokenEndpoints
from registry.api.uploads import UploadEndpoints
from registry.audit import Audit
from registry.auth import AnonymousAccess, Auth
from registry.blobs import Blobs
from registry.check import Check
from registry.clockwork import LIFECYCLE_RUN, Clockwork, make_environment
from registry.config import Config
from registry.drift import Drift
from registry.errors import RegistryError
from registry.federation import Federation
from registry.garbage import Garbage, Windows
from registry.identities import Identities
from registry.identity import Actor, Clock
from registry.leases import Leases
from registry.limits import RequestLimits
from registry.manifests import Manifests, SparseManifests
from registry.metadata import blobs, schema
from registry.metadata.database import Transaction
from registry.metadata.gate import Gate
from registry.metadata.replicas import Replica
from registry.metadata.schema import Outdated
from registry.passwords import Passwords
from registry.policies import Policies
from registry.pulls import Pulls
from registry.purges import Purges
from registry.replicas import Replicas
from registry.repositories import Repositories
from registry.runs import Runs
from registry.scrub import Scrub
from registry.stores import name_places, open_database, open_store
from registry.tags import Tags
from registry.tokens import Tokens
from registry.uploads import Uploads, UploadTerms
from registry.worker import Duty, Worker
from storage.killpoints import Reach, pass_by
from storage.sharing import Sharing

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_ID_BYTES, _IDS_AT_ONCE = 16, 256
_TEND_SECONDS = 1
_COLLECTOR = "collector"
_COLLECT_SECONDS = 5
_AUDIT_SECONDS = 60  # before its first round
_SCRUB_SECONDS = 10
_FIRST_RUN_SECONDS = 60
_BREATH_SECONDS = 0.05  # between two steps of the collector: pushes and pulls go first
_BURST_SECONDS = 10  # a caller may be so far ahead of its rate
_ASK_SECONDS = 10  # until a server asks again for a duty that another one has
_MOST_LINGER_SECONDS = 5  # load balancers see within it that a server ends


def new_id() -> str:
    """128 random bits: nobody guesses another's upload session."""
    return secrets.token_hex(_ID_BYTES)


class RequestIds:
    """Random ones, many from one question to the system: they are told to clients, and open nothing."""

    def __init__(self) -> None:
        self._left: list[str] = []

    def __call__(self) -> str:
        if not self._left:
            digits = secrets.token_hex(_ID_BYTES * _IDS_AT_ONCE)
            self._left = [digits[at : at + 2 * _ID_BYTES] for at in range(0, len(digits), 2 * _ID_BYTES)]
        return self._left.pop()


class Registry:
    """The rules over opened stores, for every door. `start` before use, `close` at the end."""

    def __init__(
        self,
        config: Config,
        *,
        clock: Clock | None = None,
        reach: Reach = pass_by,
        windows: Windows | None = None,
    ) -> None:
        self.config = config
        windows = windows or Windows(config.undelete_days)
        self._term = windows.term
        self.database = open_database(config, clock, reach)
        self.gate = Gate(self.database, ", ".join(name_places(config)))
        self.clock = clock or self.database.clock
        self.store = open_store(config, reach)
        self._make_content(windows, reach)
        self._make_removal(windows, reach)
        self._make_access()
        self._make_replicas(windows)

    def _make_content(self, windows: Windows, reach: Reach) -> None:
        database, store, clock = self.gate, self.store, self.clock
        sparse = SparseManifests(self.config.sparse_manifests)
        self.manifests = Manifests(database, clock, sparse, reach)
        accepts_sparse = sparse is SparseManifests.ACCEPT
        self.blobs = Blobs(database, store, clock, accepts_sparse=accepts_sparse, lease=windows.lease, reach=reach)
        self.uploads = Uploads(
            database,
            store,
            clock,
            new_id,
            UploadTerms(windows.lease, self.config.blob_bytes, self.config.uploads_at_once),
            reach,
        )
        self.leases = Leases(database, clock, windows.lease)
        self.tags = Tags(database, clock, sparse.may_lack)
        self.pulls = Pulls(database, clock)
        self.repositories = Repositories(database, store, clock, sparse.may_lack)

    def _make_removal(self, windows: Windows, reach: Reach) -> None:
        database, store, clock = self.gate, self.store, self.clock
        is_strict, brake, days = self.config.lifecycle_keys == "ecr", self.config.brake_percent, windows.undelete_days
        self.policies = Policies(database, clock, is_strict=is_strict, brake_percent=brake, undelete_days=days)
        self.runs = Runs(
            database,
            clock,
            is_strict=is_strict,
            brake_percent=brake,
            undelete_days=days,
            may_lack=SparseManifests(self.config.sparse_manifests).may_lack,
        )
        self.garbage = Garbage(database, store, clock, windows, reach)
        self.purges = Purges(database, store, clock)
        self.check = Check(database, store)
        self.scrub = Scrub(database, store, clock)
        self.drift = Drift(database, store, clock)

    def _make_access(self) -> None:
        config, database, clock = self.config, self.gate, self.clock
        self.audit = Audit(database, clock, self._shows_audit)
        self.tokens = Tokens(database, clock, new_id)
        self.passwords = Passwords(clock)
        self.identities = Identities(database, self.store, clock, self.passwords, secrets.token_bytes)
        access = AnonymousAccess(config.anonymous) if config.anonymous else AnonymousAccess.PROTECTED
        federation = Federation(clock)
        self.auth = Auth(database, clock, self.tokens, self.passwords, federation, self.audit, anonymous=access)

    def _make_replicas(self, windows: Windows) -> None:
        own = Replica(new_id(), f"{self.config.host}:{self.config.port}", metadata.version("entrepot"))
        self.replicas = Replicas(
            self.database,  # a server that waits for a move lives
            self.clock,
            own,
            term=windows.term,
            quiet=windows.quiet,
            sharing=None if self.config.bucket else Sharing(self.config.storage_path),
            flush=self.leases.flush,
        )

    async def start(self) -> None:
        """Bring the schema up to date and see that the blob store is this database's. Its work does not grow."""

        def work(tx: Transaction) -> tuple[str, bool]:
            schema.migrate(tx, term=self._term)
            self.gate.check(tx)
            registry_id = f"{secrets.randbelow(10**12):012d}"
            return schema.get_or_make_instance(tx, new_id(), registry_id, self.clock()), blobs.is_any_stored(tx)

        instance, is_populated = await self.database.write(work)
        self.gate.arm()
        await self.store.bind(instance, is_populated=is_populated)
        await self.audit.start()
        await self.tokens.start(f"entrepot-{await self.database.read(schema.get_registry_id)}")

    async def make_first_admin(self) -> None:
        """The one that the settings name, if there is no admin. Raises what `Identities.add_first_admin` raises."""
        if self.config.admin_user:
            password = self.config.read_admin_password()
            made = await self.identities.add_first_admin(self.config.admin_user, password, Actor("entrepot"))
            if not made:
                log.info("admin not made: there is one", setting=self.config.admin_user)

    async def join(self) -> bool:
        """As `start`, beside a server that may run, and without changing anything. False when no registry is here."""
        instance = await self.database.read(schema.find_instance)
        if instance is not None:
            self.gate.arm()
            await self.store.verify(instance)
        return instance is not None

    async def is_made(self) -> bool:
        """Whether the database is a registry's, of this version. Raises Unavailable for another version's."""
        return await self.database.read(schema.find_instance) is not None

    def list_duties(self) -> list[Duty]:
        """What is to be done again and again while the registry serves."""
        duties = [
            Duty(name="audit", work=self.audit.flush, seconds=_TEND_SECONDS, end=self.audit.flush),
            Duty(name="pulls", work=self.pulls.flush, seconds=_TEND_SECONDS, end=self.pulls.end),
            Duty(name="leases", work=self.leases.flush, seconds=_TEND_SECONDS, end=self.leases.flush),
            Duty(name="keys", work=self.tokens.rotate_if_due, seconds=_TEND_SECONDS),
            Duty(name="replicas", work=self._beat, seconds=self.replicas.beat_seconds),
        ]
        return duties + [replace(duty, work=partial(self._if_held, duty)) for duty in self._list_single_duties()]

    def _list_single_duties(self) -> list[Duty]:
        """Of several servers one has each of these."""
        duties: list[Duty] = []
        if self.config.collector == "on":
            duties.append(Duty(name=_COLLECTOR, work=self._collect, seconds=_COLLECT_SECONDS))
            duties.append(Duty(name="auditor", work=self.drift.tend, seconds=_AUDIT_SECONDS))
        if rate := self.config.scrub_mib_per_second:
            duties.append(Duty(name="scrub", work=partial(self.scrub.tend, rate), seconds=_SCRUB_SECONDS))
        if hours := self.config.lifecycle_hours:
            clockwork = Clockwork(LIFECYCLE_RUN, make_environment(self.config.model_dump(), os.environ))
            seconds = hours * 3600
            first = min(_FIRST_RUN_SECONDS, seconds)  # or a server that is restarted every day would never run one
            work = partial(self._run_lifecycle, clockwork)
            duties.append(Duty(name="lifecycle", work=work, seconds=seconds, first_seconds=first))
        return duties

    async def _beat(self) -> None:
        try:
            await self.replicas.beat()
        except Outdated as problem:
            self.gate.shut(problem.text)
            raise
        self.gate.reopen()

    async def _shows_audit(self) -> bool:
        return await self.replicas.hold("audit")

    async def _if_held(self, duty: Duty) -> float | None:
        if await self.replicas.hold(duty.name):
            return await duty.work()
        if duty.name == _COLLECTOR:
            self.garbage.overdue = 0.0  # whoever has the duty tells how late it is
        return _ASK_SECONDS

    async def _collect(self) -> float:
        """In how many seconds to go on: at once while there is something to do."""
        collected = await self.garbage.step(fence=self.replicas.fence(_COLLECTOR))
        return _COLLECT_SECONDS if collected.is_idle else _BREATH_SECONDS

    async def _run_lifecycle(self, clockwork: Clockwork) -> float | None:
        """Not by a clock that has leapt. A run needs no fence: any number may work at once, each step looks again."""
        if rest := await self.replicas.find_rest():
            return rest
        await clockwork.run()
        return None

    def close(self) -> None:
        self.passwords.close()
        self.store.close()  # first: what still runs there ends early, and then has nothing to record
        self.database.close()


def create_app(
    config: Config,
    *,
    clock: Clock | None = None,
    reach: Reach = pass_by,
    windows: Windows | None = None,
    request_log: RequestLog | None = None,
) -> Door:
    """The whole registry as one ASGI application; two of them can live in one process."""
    registry = Registry(config, clock=clock, reach=reach, windows=windows)
    metrics = _collectors()
    metrics.register(RemovalGauges(registry.garbage, registry.drift, registry.scrub))
    ending = Ending(lambda: min(_MOST_LINGER_SECONDS, config.drain_seconds / 2) if registry.replicas.others > 0 else 0)
    health = HealthEndpoints(registry.check, metrics, ending, has_open_metrics=config.metrics == "public")

    guard = _guard(registry)
    token_endpoints = TokenEndpoints(registry.auth, guard, config.body_idle_seconds)

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        try:
            await registry.start()
            await registry.make_first_admin()
            await registry.replicas.start()
            await registry.garbage.begin_serving()
            async with Worker(registry.list_duties(), registry.clock).running():
                yield
            await _end_serving(registry)
        finally:
            registry.close()

    app = Starlette(
        routes=[
            Route("/healthz", health.alive),
            Route("/readyz", health.ready),
            Route("/metrics", health.metrics),
            Route("/token", token_endpoints.token, methods=["GET", "POST"]),
            Route("/.well-known/jwks.json", token_endpoints.keys),
        ],
        exception_handlers={
            RegistryError: on_registry_error,
            HTTPException: on_http_exception,
            Exception: on_unexpected,
        },
        lifespan=lifespan,
    )
    app.router.default = _distribution(registry, guard)
    app.router.redirect_slashes = False  # a redirect would be absolute, made of whatever Host the client sent
    return _door(app, registry, metrics, ending, request_log or StructuredLog())


def _door(
    app: Starlette, registry: Registry, metrics: CollectorRegistry, ending: Ending, request_log: RequestLog
) -> Door:
    observer = Observer(request_log)
    metrics.register(observer.tallies)
    request_ids = RequestIds()
    repeats = Repeats(registry.gate, registry.clock, observer, request_ids, ending)
    return Door(app, observer, request_ids, ending, make_head_limits(registry.config), repeats)


def make_head_limits(config: Config) -> HeadLimits:
    return HeadLimits(config.target_bytes, config.header_bytes, config.header_count)


async def _end_serving(registry: Registry) -> None:
    try:
        await registry.replicas.end()
        await registry.garbage.end_serving()
    except RegistryError as problem:
        log.error("the end is not noted", problem=str(problem))  # noqa: TRY400 - it says it all


def _guard(registry: Registry) -> Guard:
    config = registry.config
    rate = config.requests_per_second
    limits = RequestLimits(registry.clock, rate, max(1, rate * _BURST_SECONDS))
    return Guard(registry.auth, Challenger(config.public_url, config.proxies), limits, config.proxies)


def _distribution(registry: Registry, guard: Guard) -> Distribution:
    config = registry.config
    routes = make_routes(
        ManifestEndpoints(
            registry.manifests,
            registry.tags,
            registry.pulls,
            config.body_idle_seconds,
            most_bytes=config.manifest_bytes,
        ),
        BlobEndpoints(registry.blobs, registry.leases),
        UploadEndpoints(registry.uploads, registry.blobs, config.body_idle_seconds),
        RepositoryEndpoints(registry.repositories),
    )
    return Distribution(routes, registry.auth, guard, config.public_url)


def _collectors() -> CollectorRegistry:
    metrics = CollectorRegistry()
    ProcessCollector(registry=metrics)
    PlatformCollector(registry=metrics)
    GCCollector(registry=metrics)
    return metrics
