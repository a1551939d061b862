"""The composition root: settings → stores → rules → endpoints → application. Importing it has no effect."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator

import structlog
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import ASGIApp

from registry.api.blobs import BlobEndpoints
from registry.api.challenge import Challenger
from registry.api.door import Door
from registry.api.errors import on_http_exception, on_registry_error, on_unexpected
from registry.api.guard import Guard
from registry.api.health import HealthEndpoints
from registry.api.manifests import ManifestEndpoints
from registry.api.observe import Observer
from registry.api.repositories import RepositoryEndpoints
from registry.api.routes import Distribution, make_routes
from registry.api.tokens import TokenEndpoints
from registry.api.uploads import UploadEndpoints
from registry.audit import Audit
from registry.auth import AnonymousAccess, Auth
from registry.blobs import Blobs
from registry.check import Check
from registry.config import Config
from registry.errors import RegistryError
from registry.federation import Federation
from registry.identities import Identities
from registry.identity import Actor, Clock
from registry.limits import RequestLimits
from registry.manifests import Manifests, SparseManifests
from registry.metadata import blobs, schema
from registry.metadata.database import Database, Transaction
from registry.passwords import Passwords
from registry.repositories import Repositories
from registry.tags import Tags
from registry.tokens import Tokens
from registry.uploads import Uploads
from storage.filesystem import FilesystemBlobStore, make_directories
from storage.killpoints import Reach, pass_by

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_TEND_SECONDS = 1
_BURST_SECONDS = 10  # a caller may be so far ahead of its rate


def milliseconds_now() -> int:
    return time.time_ns() // 1_000_000


def new_id() -> str:
    """128 random bits: nobody guesses another's upload session."""
    return secrets.token_hex(16)


class Registry:
    """The rules over opened stores, for every door. `start` before use, `close` at the end."""

    def __init__(self, config: Config, *, clock: Clock = milliseconds_now, reach: Reach = pass_by) -> None:
        self.config = config
        self.clock = clock
        make_directories(config.database_path.parent)
        self.database = Database(config.database_path, reach=reach)
        self.store = FilesystemBlobStore(config.storage_path, reach=reach)
        sparse = SparseManifests(config.sparse_manifests)
        self.manifests = Manifests(self.database, clock, sparse, reach)
        self.blobs = Blobs(
            self.database,
            self.store,
            clock,
            accepts_sparse=sparse is SparseManifests.ACCEPT,
            reach=reach,
        )
        self.uploads = Uploads(self.database, self.store, clock, new_id, reach)
        self.tags = Tags(self.database)
        self.repositories = Repositories(self.database, self.store, clock)
        self.check = Check(self.database, self.store)
        self.audit = Audit(self.database, clock)
        self.tokens = Tokens(self.database, clock, new_id)
        self.passwords = Passwords(clock)
        self.identities = Identities(self.database, self.store, clock, self.passwords, secrets.token_bytes)
        access = AnonymousAccess(config.anonymous) if config.anonymous else AnonymousAccess.PROTECTED
        federation = Federation(clock)
        self.auth = Auth(self.database, clock, self.tokens, self.passwords, federation, self.audit, anonymous=access)

    async def start(self) -> None:
        """Bring the schema up to date and see that the blob store is this database's. Its work does not grow."""

        def work(tx: Transaction) -> tuple[str, bool]:
            schema.migrate(tx)
            registry_id = f"{secrets.randbelow(10**12):012d}"
            return schema.get_or_make_instance(tx, new_id(), registry_id, self.clock()), blobs.is_any_stored(tx)

        instance, is_populated = await self.database.write(work)
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
            await self.store.verify(instance)
        return instance is not None

    async def is_made(self) -> bool:
        """Whether the database is a registry's, of this version. Raises Unavailable for another version's."""
        return await self.database.read(schema.find_instance) is not None

    async def tend(self) -> None:
        """What is to be done every second while the registry serves: until it is cancelled."""
        while True:
            await asyncio.sleep(_TEND_SECONDS)
            for duty in (self.audit.flush, self.tokens.rotate_if_due):
                try:
                    await duty()
                except RegistryError as problem:  # a full disk, say
                    log.error("put off", duty=duty.__qualname__, problem=str(problem))  # noqa: TRY400 - it says it all
                except Exception:  # a bug of ours must not end what else is to be done
                    log.exception("put off", duty=duty.__qualname__)

    def close(self) -> None:
        self.passwords.close()
        self.store.close()  # first: what still runs there ends early, and then has nothing to record
        self.database.close()


def create_app(config: Config, *, clock: Clock = milliseconds_now, reach: Reach = pass_by) -> ASGIApp:
    """The whole registry as one ASGI application; two of them can live in one process."""
    registry = Registry(config, clock=clock, reach=reach)
    metrics = _collectors()
    health = HealthEndpoints(registry.check, metrics, has_open_metrics=config.metrics == "public")

    guard = _guard(registry)
    token_endpoints = TokenEndpoints(registry.auth, guard, config.body_idle_seconds)

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        await registry.start()
        await registry.make_first_admin()
        tending = asyncio.create_task(registry.tend())
        try:
            yield
        finally:
            tending.cancel()
            await asyncio.wait([tending])
            try:
                await registry.audit.flush()
            except RegistryError as problem:
                log.error("audit not written", problem=str(problem))  # noqa: TRY400 - it says it all
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
    return Door(app, Observer(metrics), new_id)


def _guard(registry: Registry) -> Guard:
    config = registry.config
    rate = config.requests_per_second
    limits = RequestLimits(registry.clock, rate, max(1, rate * _BURST_SECONDS))
    return Guard(registry.auth, Challenger(config.public_url, config.proxies), limits, config.proxies)


def _distribution(registry: Registry, guard: Guard) -> Distribution:
    config = registry.config
    routes = make_routes(
        ManifestEndpoints(registry.manifests, registry.tags, config.body_idle_seconds),
        BlobEndpoints(registry.blobs),
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
