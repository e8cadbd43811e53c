-- The keys that clients show. They belong to the server, not to a project: no project's view of the store reaches them.

CREATE TABLE api_keys (key VARCHAR PRIMARY KEY, seq BIGINT NOT NULL, created_at BIGINT NOT NULL, doc VARCHAR NOT NULL);
