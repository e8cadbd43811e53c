-- Every object that stands by itself belongs to a project, and its children with it. What was there before belongs to `default`.
-- No index: projects are few, and DuckDB reads one short column of a million rows faster than it keeps an index of equal values.

ALTER TABLE assistants ADD COLUMN project VARCHAR NOT NULL DEFAULT 'default';
ALTER TABLE threads ADD COLUMN project VARCHAR NOT NULL DEFAULT 'default';
ALTER TABLE files ADD COLUMN project VARCHAR NOT NULL DEFAULT 'default';
ALTER TABLE vector_stores ADD COLUMN project VARCHAR NOT NULL DEFAULT 'default';
