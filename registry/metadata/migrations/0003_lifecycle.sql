-- What prunes a registry: leases and condemnations for the collector, pulls, policies, and the runs that applied them.

ALTER TABLE registry ADD COLUMN is_running INTEGER NOT NULL DEFAULT 0;   -- a server sets it, and clears it at its clean end
ALTER TABLE registry ADD COLUMN file_number INTEGER;                     -- the inode: a restored database has another one
ALTER TABLE registry ADD COLUMN quiet_until INTEGER NOT NULL DEFAULT 0;  -- nothing is collected before
ALTER TABLE registry ADD COLUMN undelete_days INTEGER;                   -- by which reviews of deleted content are due
ALTER TABLE registry ADD COLUMN policy_sequence INTEGER NOT NULL DEFAULT 0;  -- policies know of the changes up to here

ALTER TABLE repository ADD COLUMN emptied_at INTEGER;           -- its removal has begun: it cannot come back

ALTER TABLE blob ADD COLUMN damaged_at INTEGER;                -- other bytes were found: they are not served
ALTER TABLE blob ADD COLUMN scrubbed_at INTEGER NOT NULL DEFAULT 0;
CREATE INDEX blob_scrubbed ON blob (scrubbed_at);
CREATE INDEX blob_damaged ON blob (digest) WHERE damaged_at IS NOT NULL;

-- A client was told that the blob is there: until then it stays although nothing names it.
ALTER TABLE repository_blob ADD COLUMN lease_until INTEGER NOT NULL DEFAULT 0;
-- Nothing names it: it goes when it is still so some time later.
ALTER TABLE repository_blob ADD COLUMN condemned_at INTEGER;
CREATE INDEX repository_blob_deleted ON repository_blob (repository_id) WHERE deleted_at IS NOT NULL;
CREATE INDEX manifest_deleted ON manifest (repository_id) WHERE deleted_at IS NOT NULL;

-- As before, with two kinds more.
CREATE TABLE wider_review (
  kind TEXT NOT NULL CHECK (kind IN ('right', 'blob', 'manifest', 'subject', 'upload', 'repository')),
  key TEXT NOT NULL,                     -- see metadata/reviews.py
  due_at INTEGER NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  cause TEXT NOT NULL,
  PRIMARY KEY (kind, key)
) STRICT, WITHOUT ROWID;
INSERT INTO wider_review (kind, key, due_at, attempts, cause) SELECT kind, key, due_at, attempts, cause FROM review;
DROP TABLE review;
ALTER TABLE wider_review RENAME TO review;
CREATE INDEX review_due ON review (due_at);

-- Keys that no row names any more: their bytes go, outside of any transaction.
CREATE TABLE discard (
  storage_key TEXT PRIMARY KEY,
  size INTEGER NOT NULL,
  due_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX discard_due ON discard (due_at);

-- The last pull of a manifest by each identity, some seconds late, and no change.
CREATE TABLE pull (
  manifest_id INTEGER NOT NULL REFERENCES manifest (id) ON DELETE CASCADE,
  identity TEXT NOT NULL,
  at INTEGER NOT NULL,
  PRIMARY KEY (manifest_id, identity)
) STRICT, WITHOUT ROWID;

CREATE TABLE policy (
  repository_id INTEGER PRIMARY KEY REFERENCES repository (id) ON DELETE CASCADE,
  text TEXT NOT NULL,
  set_at INTEGER NOT NULL,
  set_by TEXT NOT NULL,
  due_at INTEGER                         -- when it may have something to do; NULL: not before something changes
) STRICT;
CREATE INDEX policy_due ON policy (due_at) WHERE due_at IS NOT NULL;

-- A run is a plan for one repository, and what became of it. It outlives the repository.
CREATE TABLE run (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  repository_id INTEGER NOT NULL,
  repository TEXT NOT NULL,
  policy TEXT NOT NULL,                  -- as it was
  planned_at INTEGER NOT NULL,
  planned_by TEXT NOT NULL,
  images INTEGER NOT NULL,               -- in the repository when it was planned
  status TEXT NOT NULL CHECK (status IN ('applying', 'stopped', 'applied', 'superseded', 'undone')),
  ended_at INTEGER,                      -- when it came to its status
  ended_by TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX run_repository ON run (repository_id, id);

CREATE TABLE run_step (
  run_id INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
  position INTEGER NOT NULL,             -- the order in which they are taken
  manifest_id INTEGER NOT NULL,
  digest TEXT NOT NULL,
  tags TEXT NOT NULL,                    -- JSON: {name: id of its row}, all of the image or those that a rule takes
  takes_image INTEGER NOT NULL,          -- 0: only the tags
  rule INTEGER,
  reason TEXT NOT NULL,
  size INTEGER NOT NULL,                 -- bytes that become free with it, after those before it
  outcome TEXT NOT NULL DEFAULT 'planned' CHECK (outcome IN ('planned', 'done', 'changed', 'held', 'undone')),
  done_at INTEGER,
  PRIMARY KEY (run_id, position)
) STRICT, WITHOUT ROWID;
CREATE INDEX run_step_manifest ON run_step (manifest_id);
