"""The composition root: settings → stores → rules → endpoints → application. Importing it has no effect."""

import contextlib
import secrets
import time
from collections.abc import AsyncIterator

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import ASGIApp

from registry.api.blobs import BlobEndpoints
from registry.api.door import Door
from registry.api.errors import on_http_exception, on_registry_error, on_unexpected
from registry.api.guard import Guard
from registry.api.health import HealthEndpoints
from registry.api.manifests import ManifestEndpoints
from registry.api.observe import Observer
from registry.api.repositories import RepositoryEndpoints
from registry.api.routes import Distribution, make_routes
from registry.api.uploads import UploadEndpoints
from registry.auth import AnonymousAccess, may_mount_from
from registry.blobs import Blobs
from registry.check import Check
from registry.config import Config
from registry.errors import RegistryError
from registry.identity import Clock
from registry.manifests import Manifests, SparseManifests
from registry.metadata import blobs, schema
from registry.metadata.database import Database, Transaction
from registry.repositories import Repositories
from registry.tags import Tags
from registry.uploads import Uploads
from storage.filesystem import FilesystemBlobStore, make_directories
from storage.killpoints import Reach, pass_by


def milliseconds_now() -> int:
    return time.time_ns() // 1_000_000


def new_id() -> str:
    """128 random bits: nobody guesses another's upload session."""
    return secrets.token_hex(16)


class Registry:
    """The rules over opened stores, for every door. `start` before use, `close` at the end."""

    def __init__(self, config: Config, *, clock: Clock = milliseconds_now, reach: Reach = pass_by) -> None:
        self.config = config
        self._clock = clock
        make_directories(config.database_path.parent)
        self.database = Database(config.database_path, reach=reach)
        self.store = FilesystemBlobStore(config.storage_path, reach=reach)
        sparse = SparseManifests(config.sparse_manifests)
        self.manifests = Manifests(self.database, clock, sparse, reach)
        self.blobs = Blobs(
            self.database,
            self.store,
            clock,
            may_mount_from,
            accepts_sparse=sparse is SparseManifests.ACCEPT,
            reach=reach,
        )
        self.uploads = Uploads(self.database, self.store, clock, new_id, reach)
        self.tags = Tags(self.database)
        self.repositories = Repositories(self.database, self.store, clock)
        self.check = Check(self.database, self.store)

    async def start(self) -> None:
        """Bring the schema up to date and see that the blob store is this database's. Its work does not grow."""

        def work(tx: Transaction) -> tuple[str, bool]:
            schema.migrate(tx)
            registry_id = f"{secrets.randbelow(10**12):012d}"
            return schema.get_or_make_instance(tx, new_id(), registry_id, self._clock()), blobs.is_any_stored(tx)

        instance, is_populated = await self.database.write(work)
        await self.store.bind(instance, is_populated=is_populated)

    async def join(self) -> bool:
        """As `start`, beside a server that may run, and without changing anything. False when no registry is here."""
        instance = await self.database.read(schema.find_instance)
        if instance is not None:
            await self.store.verify(instance)
        return instance is not None

    def close(self) -> None:
        self.store.close()  # first: what still runs there ends early, and then has nothing to record
        self.database.close()


def create_app(config: Config, *, clock: Clock = milliseconds_now, reach: Reach = pass_by) -> ASGIApp:
    """The whole registry as one ASGI application; two of them can live in one process."""
    registry = Registry(config, clock=clock, reach=reach)
    metrics = _collectors()
    health = HealthEndpoints(registry.check, metrics, has_open_metrics=config.metrics == "public")

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        await registry.start()
        try:
            yield
        finally:
            registry.close()

    app = Starlette(
        routes=[
            Route("/healthz", health.alive),
            Route("/readyz", health.ready),
            Route("/metrics", health.metrics),
        ],
        exception_handlers={
            RegistryError: on_registry_error,
            HTTPException: on_http_exception,
            Exception: on_unexpected,
        },
        lifespan=lifespan,
    )
    app.router.default = _distribution(registry)
    app.router.redirect_slashes = False  # a redirect would be absolute, made of whatever Host the client sent
    return Door(app, Observer(metrics), new_id)


def _distribution(registry: Registry) -> Distribution:
    config = registry.config
    access = AnonymousAccess(config.anonymous) if config.anonymous else AnonymousAccess.PROTECTED
    routes = make_routes(
        ManifestEndpoints(registry.manifests, registry.tags, config.body_idle_seconds),
        BlobEndpoints(registry.blobs),
        UploadEndpoints(registry.uploads, registry.blobs, config.body_idle_seconds),
        RepositoryEndpoints(registry.repositories),
    )
    return Distribution(routes, Guard(access, config.proxies), config.public_url)


def _collectors() -> CollectorRegistry:
    metrics = CollectorRegistry()
    ProcessCollector(registry=metrics)
    PlatformCollector(registry=metrics)
    GCCollector(registry=metrics)
    return metrics
