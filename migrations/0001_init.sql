-- Each resource's columns are those of schema/<name>.def, under its plural; a test refuses drift.
-- Times are milliseconds since 1970 UTC, prices micro-units, costs pico-units.

CREATE TABLE meta (
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE orgs (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  status TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  version INTEGER NOT NULL
) STRICT;

CREATE TABLE users (
  id TEXT PRIMARY KEY,
  org_id TEXT REFERENCES orgs(id),
  email TEXT NOT NULL UNIQUE,
  name TEXT NOT NULL,
  role TEXT NOT NULL,
  status TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  last_login_at INTEGER,
  version INTEGER NOT NULL
) STRICT;
CREATE INDEX users_by_org ON users(org_id, id);

CREATE TABLE passwords (
  user_id TEXT PRIMARY KEY REFERENCES users(id) ON DELETE CASCADE,
  hash TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE sessions (
  hash TEXT PRIMARY KEY,
  user_id TEXT NOT NULL REFERENCES users(id) ON DELETE CASCADE,
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_by_user ON sessions(user_id);

CREATE TABLE tokens (
  id TEXT PRIMARY KEY,
  user_id TEXT NOT NULL REFERENCES users(id) ON DELETE CASCADE,
  name TEXT NOT NULL,
  hash TEXT NOT NULL UNIQUE,
  expires_at INTEGER,
  created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX tokens_by_user ON tokens(user_id, id);

CREATE TABLE keys (
  id TEXT PRIMARY KEY,
  org_id TEXT NOT NULL REFERENCES orgs(id),
  user_id TEXT NOT NULL REFERENCES users(id),
  name TEXT NOT NULL,
  description TEXT NOT NULL,
  public_id TEXT NOT NULL UNIQUE,
  hash TEXT NOT NULL,
  status TEXT NOT NULL,
  expires_at INTEGER,
  created_at INTEGER NOT NULL,
  last_used_at INTEGER,
  version INTEGER NOT NULL
) STRICT;
CREATE INDEX keys_by_org ON keys(org_id, id);
CREATE INDEX keys_by_user ON keys(user_id, id);

CREATE TABLE providers (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  family TEXT NOT NULL,
  description TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  version INTEGER NOT NULL
) STRICT;

CREATE TABLE models (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  provider_id TEXT REFERENCES providers(id),
  description TEXT NOT NULL,
  use_case TEXT NOT NULL,
  repository TEXT NOT NULL,
  source TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  version INTEGER NOT NULL
) STRICT;
CREATE INDEX models_by_provider ON models(provider_id);

CREATE TABLE clusters (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  kind TEXT NOT NULL,
  description TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  version INTEGER NOT NULL
) STRICT;

CREATE TABLE endpoints (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  description TEXT NOT NULL,
  hostname TEXT NOT NULL,
  cluster_id TEXT NOT NULL REFERENCES clusters(id),
  created_at INTEGER NOT NULL,
  version INTEGER NOT NULL
) STRICT;
CREATE INDEX endpoints_by_cluster ON endpoints(cluster_id);

CREATE TABLE deployments (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  description TEXT NOT NULL,
  model_id TEXT NOT NULL REFERENCES models(id),
  endpoint_id TEXT NOT NULL REFERENCES endpoints(id),
  served_name TEXT,
  engine TEXT NOT NULL,
  replicas INTEGER NOT NULL,
  context_length INTEGER NOT NULL,
  threads INTEGER NOT NULL,
  kv_mib INTEGER NOT NULL,
  max_seqs INTEGER NOT NULL,
  max_output INTEGER NOT NULL,
  upstream_url TEXT NOT NULL,
  upstream_model TEXT NOT NULL,
  state TEXT NOT NULL,
  state_reason TEXT NOT NULL,
  progress INTEGER NOT NULL,
  replica_list TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  version INTEGER NOT NULL,
  UNIQUE (endpoint_id, served_name)
) STRICT;
CREATE INDEX deployments_by_model ON deployments(model_id);

CREATE TABLE shares (
  id TEXT PRIMARY KEY,
  deployment_id TEXT NOT NULL REFERENCES deployments(id),
  org_id TEXT REFERENCES orgs(id),
  created_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX share_once ON shares(deployment_id, ifnull(org_id, ''));
CREATE INDEX shares_by_org ON shares(org_id, deployment_id);

CREATE TABLE limits (
  id TEXT PRIMARY KEY,
  deployment_id TEXT REFERENCES deployments(id),
  scope TEXT NOT NULL,
  subject_id TEXT,
  requests_per_min INTEGER,
  tokens_per_min INTEGER,
  concurrency INTEGER,
  enabled INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  version INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX limit_once
  ON limits(ifnull(deployment_id, ''), scope, ifnull(subject_id, ''));
CREATE INDEX limits_by_deployment ON limits(deployment_id);
CREATE INDEX limits_by_subject ON limits(subject_id);

-- A price outlives its deployment: usage rows point at it.
CREATE TABLE prices (
  id TEXT PRIMARY KEY,
  deployment_id TEXT NOT NULL,
  currency TEXT NOT NULL,
  input_per_1m INTEGER NOT NULL,
  cached_input_per_1m INTEGER,
  output_per_1m INTEGER NOT NULL,
  effective_from INTEGER,
  created_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX price_once ON prices(deployment_id, effective_from);

-- A usage row outlives all that it names.
CREATE TABLE usage (
  id TEXT PRIMARY KEY,
  time INTEGER NOT NULL,
  org_id TEXT NOT NULL,
  user_id TEXT NOT NULL,
  key_id TEXT,
  deployment_id TEXT NOT NULL,
  model TEXT NOT NULL,
  route TEXT NOT NULL,
  stream INTEGER NOT NULL,
  outcome TEXT NOT NULL,
  http_status INTEGER NOT NULL,
  input_tokens INTEGER NOT NULL,
  cached_tokens INTEGER NOT NULL,
  output_tokens INTEGER NOT NULL,
  price_id TEXT,
  currency TEXT NOT NULL,
  cost INTEGER NOT NULL,
  ttft_ms INTEGER,
  duration_ms INTEGER NOT NULL,
  source TEXT NOT NULL,
  degraded TEXT NOT NULL,
  gateway TEXT NOT NULL
) STRICT;

-- What is gone keeps its name here, for usage pages and the audit log.
CREATE TABLE gone (
  id TEXT PRIMARY KEY,
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  org_id TEXT,
  deleted_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The change feed: for each row that ever was, the revision of its last change. Revisions count up
-- over all kinds; rows are never removed, so the highest is the current one.
CREATE TABLE changes (
  kind TEXT NOT NULL,
  id TEXT NOT NULL,
  rev INTEGER NOT NULL UNIQUE,
  PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
  id TEXT NOT NULL UNIQUE,
  seq INTEGER PRIMARY KEY,
  created_at INTEGER NOT NULL,
  actor_id TEXT,
  peer TEXT NOT NULL,
  org_id TEXT,
  action TEXT NOT NULL,
  kind TEXT NOT NULL,
  object_id TEXT NOT NULL,
  detail TEXT NOT NULL,
  prev_hash TEXT NOT NULL,
  hash TEXT NOT NULL
) STRICT;
CREATE INDEX audit_by_object ON audit(object_id, id);
CREATE TRIGGER audit_keeps_rows BEFORE DELETE ON audit
  BEGIN SELECT RAISE(ABORT, 'the audit log is only added to'); END;
CREATE TRIGGER audit_keeps_text BEFORE UPDATE ON audit
  BEGIN SELECT RAISE(ABORT, 'the audit log is only added to'); END;

-- Answers to POSTs with an Idempotency-Key, sealed, for 24 hours.
CREATE TABLE replays (
  user_id TEXT NOT NULL REFERENCES users(id) ON DELETE CASCADE,
  name TEXT NOT NULL,
  request_hash BLOB NOT NULL,
  status INTEGER NOT NULL,
  version INTEGER NOT NULL,
  location TEXT,
  body BLOB NOT NULL,
  created_at INTEGER NOT NULL,
  PRIMARY KEY (user_id, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX replays_by_age ON replays(created_at);
