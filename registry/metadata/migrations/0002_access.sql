-- Who may do what. A change of anything here raises registry.access_epoch in the same transaction: what a process
-- remembers of it is good for as long as the epoch stands.

ALTER TABLE registry ADD COLUMN access_epoch INTEGER NOT NULL DEFAULT 0;
-- Set by the first identity that can log in, and never cleared: who removes the last one does not open the registry.
ALTER TABLE registry ADD COLUMN is_guarded INTEGER NOT NULL DEFAULT 0;

-- Names are one space: whoever logs in under one is exactly one of them. Ids are never used again, and tokens carry
-- the id, so nobody inherits the tokens of a namesake who is gone.
CREATE TABLE identity (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  kind TEXT NOT NULL CHECK (kind IN ('user', 'robot', 'group', 'trust', 'anonymous')),
  name TEXT NOT NULL UNIQUE,
  secret TEXT,                           -- user: argon2id or bcrypt; robot: SHA-256 of its random secret, hex
  stamp INTEGER NOT NULL DEFAULT 0,      -- raised with each new secret: tokens of an older one are refused
  is_admin INTEGER NOT NULL DEFAULT 0,
  rule TEXT,                             -- trust: JSON of issuer, audience, claims, keys
  created_at INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  expires_at INTEGER,
  disabled_at INTEGER,
  last_used_at INTEGER,                  -- some seconds late, and no change
  CHECK ((secret IS NOT NULL) = (kind IN ('user', 'robot'))),
  CHECK ((rule IS NOT NULL) = (kind = 'trust'))
) STRICT;
CREATE INDEX identity_kind ON identity (kind, name);
INSERT INTO identity (kind, name, created_at, created_by) VALUES ('anonymous', 'anonymous', 0, 'entrepot');

CREATE TABLE membership (
  group_id INTEGER NOT NULL REFERENCES identity (id) ON DELETE CASCADE,
  user_id INTEGER NOT NULL REFERENCES identity (id) ON DELETE CASCADE,
  PRIMARY KEY (group_id, user_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX membership_user ON membership (user_id);

-- Lists are texts with commas, as the command line takes them.
CREATE TABLE access_grant (
  identity_id INTEGER NOT NULL REFERENCES identity (id) ON DELETE CASCADE,
  repositories TEXT NOT NULL,
  actions TEXT NOT NULL,
  tags TEXT NOT NULL,
  PRIMARY KEY (identity_id, repositories)
) STRICT, WITHOUT ROWID;

-- The sessions of an identity end with it.
CREATE INDEX upload_owner ON upload (owner);

CREATE TABLE signing_key (
  kid TEXT PRIMARY KEY,
  private_key BLOB NOT NULL,             -- Ed25519, 32 bytes
  created_at INTEGER NOT NULL,
  retired_at INTEGER                     -- signs nothing since then, and verifies a while longer
) STRICT;

-- A token is refused for a name that was deleted after it was issued. Whoever removes such rows for good keeps those
-- of the last day: no token lives longer.
CREATE INDEX repository_deletion ON repository (name, deleted_at) WHERE deleted_at IS NOT NULL;

-- The change log also has what is about no repository: identities, failed logins, denials.
CREATE TABLE change_with_access (
  sequence INTEGER PRIMARY KEY AUTOINCREMENT,
  at INTEGER NOT NULL,
  actor TEXT NOT NULL,
  address TEXT NOT NULL,
  request_id TEXT NOT NULL,
  action TEXT NOT NULL,
  repository_id INTEGER,
  repository TEXT NOT NULL,
  digest TEXT,
  tag TEXT,
  subject TEXT NOT NULL DEFAULT '',      -- the identity that it was done to
  detail TEXT NOT NULL DEFAULT '',
  times INTEGER NOT NULL DEFAULT 1       -- how often, of failures that came in a row
) STRICT;
INSERT INTO change_with_access (sequence, at, actor, address, request_id, action, repository_id, repository, digest, tag)
  SELECT sequence, at, actor, address, request_id, action, repository_id, repository, digest, tag FROM change;
DROP TABLE change;
ALTER TABLE change_with_access RENAME TO change;
CREATE INDEX change_at ON change (at);
