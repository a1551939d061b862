-- Instants are Unix milliseconds, sizes are bytes, digests are text as the spec writes them, ids are never used again.
-- A row that is only marked as deleted stays until its undelete window ends; every query asks for the mark.

CREATE TABLE registry (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  instance TEXT NOT NULL,                -- the blob store carries it too: a store of another registry is refused
  registry_id TEXT NOT NULL,             -- 12 digits, ECR's registryId
  created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE repository (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL,
  kind TEXT NOT NULL DEFAULT 'hosted',
  settings TEXT NOT NULL DEFAULT '{}',
  created_at INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  cause TEXT NOT NULL,                   -- push, mount or explicit
  deleted_at INTEGER
) STRICT;
CREATE UNIQUE INDEX repository_name ON repository (name) WHERE deleted_at IS NULL;

CREATE TABLE blob (
  digest TEXT PRIMARY KEY,
  storage_key TEXT NOT NULL UNIQUE,      -- one per upload: a deleter never meets a newer copy
  size INTEGER NOT NULL CHECK (size >= 0),
  stored_at INTEGER NOT NULL
) STRICT;

-- The right to read a blob in a repository.
CREATE TABLE repository_blob (
  repository_id INTEGER NOT NULL REFERENCES repository (id) ON DELETE RESTRICT,
  digest TEXT NOT NULL REFERENCES blob (digest) ON DELETE RESTRICT,
  added_at INTEGER NOT NULL,
  deleted_at INTEGER,
  PRIMARY KEY (repository_id, digest)
) STRICT, WITHOUT ROWID;
CREATE INDEX repository_blob_digest ON repository_blob (digest);

CREATE TABLE manifest (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  repository_id INTEGER NOT NULL REFERENCES repository (id) ON DELETE RESTRICT,
  digest TEXT NOT NULL,
  media_type TEXT NOT NULL,
  size INTEGER NOT NULL,
  artifact_type TEXT,
  subject TEXT,                          -- a digest; it need not be here
  annotations TEXT NOT NULL,             -- JSON, as the list of the subject's referrers shows them
  pushed_at INTEGER NOT NULL,
  pushed_by TEXT NOT NULL,
  deleted_at INTEGER,
  content BLOB NOT NULL,                 -- last, so that a scan of the columns before it does not read it
  UNIQUE (repository_id, digest)
) STRICT;
CREATE INDEX manifest_subject ON manifest (repository_id, subject, digest) WHERE subject IS NOT NULL;

-- What a manifest names. Present content carries a foreign key, absent content waits with none and is joined when the
-- digest arrives. A config and a layer may be the same blob, so the kind belongs to the key.
CREATE TABLE reference (
  manifest_id INTEGER NOT NULL REFERENCES manifest (id) ON DELETE CASCADE,
  kind TEXT NOT NULL CHECK (kind IN ('config', 'layer', 'child', 'subject')),
  digest TEXT NOT NULL,
  repository_id INTEGER NOT NULL,
  blob_digest TEXT CHECK (blob_digest = digest),
  child_id INTEGER REFERENCES manifest (id) ON DELETE RESTRICT,
  PRIMARY KEY (manifest_id, kind, digest),
  CHECK (blob_digest IS NULL OR child_id IS NULL),
  FOREIGN KEY (repository_id, blob_digest) REFERENCES repository_blob (repository_id, digest) ON DELETE RESTRICT
) STRICT, WITHOUT ROWID;
CREATE INDEX reference_digest ON reference (repository_id, digest);
CREATE INDEX reference_blob ON reference (repository_id, blob_digest) WHERE blob_digest IS NOT NULL;
CREATE INDEX reference_child ON reference (child_id) WHERE child_id IS NOT NULL;

-- Tags are history: a move closes one row and opens the next. Only the open row holds its manifest.
CREATE TABLE tag (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  repository_id INTEGER NOT NULL REFERENCES repository (id) ON DELETE RESTRICT,
  name TEXT NOT NULL,
  digest TEXT NOT NULL,
  manifest_id INTEGER REFERENCES manifest (id) ON DELETE RESTRICT,
  valid_from INTEGER NOT NULL,
  valid_to INTEGER,
  set_by TEXT NOT NULL,
  CHECK ((valid_to IS NULL) = (manifest_id IS NOT NULL))
) STRICT;
CREATE UNIQUE INDEX tag_current ON tag (repository_id, name) WHERE valid_to IS NULL;
CREATE INDEX tag_history ON tag (repository_id, name, id);
CREATE INDEX tag_manifest ON tag (manifest_id) WHERE manifest_id IS NOT NULL;

-- A session belongs to a name, not to a repository: the repository exists from its first 201, not from a POST.
CREATE TABLE upload (
  id TEXT PRIMARY KEY,
  repository TEXT NOT NULL,
  owner TEXT NOT NULL,
  algorithm TEXT NOT NULL,
  storage_key TEXT NOT NULL UNIQUE,
  byte_offset INTEGER NOT NULL DEFAULT 0,
  writer TEXT,                           -- the request that appends: no other may record what it wrote
  started_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX upload_repository ON upload (repository);

-- What the collector looks at next; written in the transaction that gave the reason.
CREATE TABLE review (
  kind TEXT NOT NULL CHECK (kind IN ('blob', 'manifest', 'upload', 'repository')),
  key TEXT NOT NULL,                     -- a digest, a manifest's or repository's id, an upload's storage key
  due_at INTEGER NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  cause TEXT NOT NULL,
  PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX review_due ON review (due_at);

-- Every change that a client can see: the one source of audit, events and replication.
CREATE TABLE change (
  sequence INTEGER PRIMARY KEY AUTOINCREMENT,
  at INTEGER NOT NULL,
  actor TEXT NOT NULL,
  address TEXT NOT NULL,
  request_id TEXT NOT NULL,
  action TEXT NOT NULL,
  repository_id INTEGER NOT NULL,
  repository TEXT NOT NULL,
  digest TEXT,
  tag TEXT
) STRICT;
