-- Every statement that the store says, by name. In braces: names of our own tables and columns, and places for parameters; never a value.

-- name: docs
-- Objects by their keys.
SELECT key, doc FROM {table} WHERE key IN ({marks});

-- name: keys
-- The children of a parent, oldest first.
SELECT key FROM {table} WHERE {family} ORDER BY seq;

-- name: place
-- Where an object stands in the order of creation, if it is among those listed.
SELECT seq FROM {table} WHERE key = ? AND {family};

-- name: places
-- Where objects stand in the order of creation, without their documents. The family (a parent's children) is materialized first, here and below: any other
-- condition beside the one on an indexed column makes DuckDB forget the index and read the whole table.
{open_family} SELECT seq FROM {members} AND {stretch} AND {wanted} ORDER BY seq {order} LIMIT ?;

-- name: page
-- The same with the documents. To sort them costs more than to sort places, and less than a second statement unless there are thousands.
{open_family} SELECT seq, doc FROM {members} AND {stretch} AND {wanted} ORDER BY seq {order} LIMIT ?;

-- name: stretch
-- Documents between two places.
{open_family} SELECT seq, doc FROM {members} AND seq BETWEEN ? AND ?;

-- name: count
-- How many objects there are.
{open_family} SELECT count(*) FROM {members} AND {wanted};

-- name: mentions
-- The objects in whose documents a text occurs, oldest first. Reads the whole table.
SELECT key FROM {table} WHERE contains(doc, ?) ORDER BY seq;

-- name: active_runs
-- The runs that hold a thread, oldest first.
SELECT runs.doc FROM runs JOIN active_runs ON active_runs.run_id = runs.key ORDER BY runs.seq;

-- name: projects
-- The projects that have an object in a table.
SELECT DISTINCT project FROM {table};

-- name: newest
-- The last place given out in a table.
SELECT coalesce(max(seq), 0) FROM {table};

-- name: insert
-- New objects. Fails when there is one with the same key.
INSERT INTO {table} (key, seq, {columns}, doc) {rows};

-- name: upsert
-- New objects, and new documents for those that exist.
INSERT INTO {table} (key, seq, {columns}, doc) {rows}
ON CONFLICT (key) DO UPDATE SET doc = excluded.doc RETURNING key, {columns};

-- name: delete
-- Objects by their keys.
DELETE FROM {table} WHERE key IN (SELECT unnest(?::VARCHAR[]));

-- name: meta
-- Where the database keeps what it knows of itself.
CREATE TABLE IF NOT EXISTS meta (name VARCHAR PRIMARY KEY, value BIGINT NOT NULL);

-- name: version
-- The number of the last migration that was applied.
SELECT coalesce(max(value), 0) FROM meta WHERE name = 'version';

-- name: set_version
-- A migration was applied.
INSERT INTO meta VALUES ('version', ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value;

-- name: has_dead_text
-- Whether the file holds text of deleted objects.
SELECT count(*) FROM meta WHERE name = 'dead_text';

-- name: set_dead_text
-- Something was deleted.
INSERT INTO meta VALUES ('dead_text', 1) ON CONFLICT (name) DO NOTHING;

-- name: clear_dead_text
-- The file is fresh.
DELETE FROM meta WHERE name = 'dead_text';
