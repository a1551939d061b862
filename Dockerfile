# docker build -t entrepot .    (buildah and podman: with --format docker, or they drop the HEALTHCHECK)
# Wheels in a folder wheels/ take the place of the package index: they must cover the dependencies and the build backend.
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
WORKDIR /build
# pip lives in one environment and fills the other, so the image has none of its own.
RUN python3 -m venv tools && python3 -m venv --without-pip /opt/entrepot && mkdir empty
ENV PIP_CONFIG_FILE=/build/pip.conf PIP_CONSTRAINT=/build/constraints.txt \
    PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_WARN_SCRIPT_LOCATION=1

# What changes seldom comes first: dependencies are a layer of their own, for builders and for those who pull.
COPY pyproject.toml constraints.txt wheel* ./
RUN set -- *.whl; [ ! -e "$1" ] || printf '[global]\nno-index = true\nfind-links = /build\n' >pip.conf
RUN python3 -c 'import tomllib as t; print(*t.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' \
      >backend.txt \
 && python3 -c 'import tomllib as t; print(*t.load(open("pyproject.toml", "rb"))["project"]["dependencies"], sep="\n")' \
      >dependencies.txt \
 && tools/bin/pip install -r backend.txt \
 && tools/bin/pip --python /opt/entrepot/bin/python install -r dependencies.txt

COPY README.md LICENSE ./
COPY registry registry
COPY storage storage
RUN tools/bin/pip wheel --no-deps --no-build-isolation --no-index --wheel-dir own . \
 && tools/bin/pip --python /opt/entrepot/bin/python install --no-deps --no-index --find-links own --root /own entrepot

FROM ${BASE}
COPY --from=build /opt/entrepot /opt/entrepot
COPY --from=build /own/opt/entrepot /opt/entrepot
# A new named volume takes its owner from this folder; a bind mount keeps its own, and has to belong to 65532.
COPY --from=build --chown=65532:65532 /build/empty /data

# Modules are compiled already and SQLite keeps what is temporary in memory: nothing is written outside /data.
# `docker stop` kills after 10 seconds, so requests in flight have 8; with a longer --stop-timeout give them more.
ENV PATH=/opt/entrepot/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    ENTREPOT_DATA=/data \
    ENTREPOT_HOST=0.0.0.0 \
    ENTREPOT_PORT=5000 \
    ENTREPOT_DRAIN_SECONDS=8
USER 65532:65532
WORKDIR /data
VOLUME /data
EXPOSE 5000
STOPSIGNAL SIGTERM
# Connecting to 0.0.0.0 or :: reaches this machine, so the address to listen on is the address to ask. The certificate
# is for another name than that, and what answers there is ourselves.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s CMD ["python", "-c", "\
import http.client, os, ssl, sys; \
host, port = os.environ['ENTREPOT_HOST'] or '127.0.0.1', int(os.environ['ENTREPOT_PORT'] or 5000); \
connection = http.client.HTTPSConnection(host, port, timeout=4, context=ssl._create_unverified_context()) \
  if os.environ.get('ENTREPOT_TLS_CERT') else http.client.HTTPConnection(host, port, timeout=4); \
connection.request('GET', '/healthz'); \
sys.exit(connection.getresponse().status != 200)"]
ENTRYPOINT ["entrepot"]
CMD ["serve"]

ARG BASE
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Entrepot" \
      org.opencontainers.image.description="A self-hosted OCI container image registry, shaped like Amazon ECR" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${BASE}"
