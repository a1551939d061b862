-- Several servers on one registry, and stores that need more than a key to go on with an upload.

-- The store's own notes about the upload (JSON): any server can go on with it.
ALTER TABLE upload ADD COLUMN progress TEXT NOT NULL DEFAULT '';
ALTER TABLE discard ADD COLUMN progress TEXT NOT NULL DEFAULT '';

-- The servers that serve this registry now. One that does not end by itself leaves its row.
CREATE TABLE replica (
  id TEXT PRIMARY KEY,                   -- random, of one start of a server
  address TEXT NOT NULL,                 -- where it listens, for people
  version TEXT NOT NULL,
  started_at INTEGER NOT NULL,
  seen_at INTEGER NOT NULL               -- by the database's clock, like all instants that servers must agree about
) STRICT, WITHOUT ROWID;

-- What only one of them does at a time. `term` is another one with each holder.
CREATE TABLE duty (
  name TEXT PRIMARY KEY,
  holder TEXT NOT NULL,
  term INTEGER NOT NULL DEFAULT 1,
  until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- When the servers last saw the registry's clock: what has leapt since is no clock to remove anything by.
ALTER TABLE registry ADD COLUMN seen_at INTEGER NOT NULL DEFAULT 0;
