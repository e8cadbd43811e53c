-- The objects. `doc` is an object's JSON, the same that goes over the wire plus its private fields; the columns before it repeat fields that never change.
-- `seq` is the order of creation, finer than `created_at` (Unix seconds) and kept when the object changes.
-- No foreign keys: DuckDB checks them against rows that the same transaction has deleted. Indexes only on columns that never change: an update of an
-- indexed column is a delete and an insert inside DuckDB, and that path has lost index entries for others.

CREATE TABLE assistants (key VARCHAR PRIMARY KEY, seq BIGINT NOT NULL, created_at BIGINT NOT NULL, doc VARCHAR NOT NULL);

CREATE TABLE threads (key VARCHAR PRIMARY KEY, seq BIGINT NOT NULL, created_at BIGINT NOT NULL, doc VARCHAR NOT NULL);

CREATE TABLE messages (key VARCHAR PRIMARY KEY, seq BIGINT NOT NULL, created_at BIGINT NOT NULL, thread_id VARCHAR NOT NULL, doc VARCHAR NOT NULL);
CREATE INDEX messages_of_a_thread ON messages (thread_id);

CREATE TABLE runs (key VARCHAR PRIMARY KEY, seq BIGINT NOT NULL, created_at BIGINT NOT NULL, thread_id VARCHAR NOT NULL, doc VARCHAR NOT NULL);
CREATE INDEX runs_of_a_thread ON runs (thread_id);

CREATE TABLE run_steps (
    key VARCHAR PRIMARY KEY, seq BIGINT NOT NULL, created_at BIGINT NOT NULL, thread_id VARCHAR NOT NULL, run_id VARCHAR NOT NULL, doc VARCHAR NOT NULL
);
CREATE INDEX run_steps_of_a_thread ON run_steps (thread_id);
CREATE INDEX run_steps_of_a_run ON run_steps (run_id);

CREATE TABLE files (key VARCHAR PRIMARY KEY, seq BIGINT NOT NULL, created_at BIGINT NOT NULL, doc VARCHAR NOT NULL);

CREATE TABLE vector_stores (key VARCHAR PRIMARY KEY, seq BIGINT NOT NULL, created_at BIGINT NOT NULL, doc VARCHAR NOT NULL);

CREATE TABLE vector_store_files (
    key VARCHAR PRIMARY KEY, seq BIGINT NOT NULL, created_at BIGINT NOT NULL,
    vector_store_id VARCHAR NOT NULL, file_id VARCHAR NOT NULL, batch_id VARCHAR, doc VARCHAR NOT NULL
);
CREATE INDEX vector_store_files_of_a_store ON vector_store_files (vector_store_id);
CREATE INDEX vector_store_files_of_a_file ON vector_store_files (file_id);
CREATE INDEX vector_store_files_of_a_batch ON vector_store_files (batch_id);

CREATE TABLE vector_store_file_batches (
    key VARCHAR PRIMARY KEY, seq BIGINT NOT NULL, created_at BIGINT NOT NULL, vector_store_id VARCHAR NOT NULL, doc VARCHAR NOT NULL
);
CREATE INDEX vector_store_file_batches_of_a_store ON vector_store_file_batches (vector_store_id);

-- Which run has each busy thread: `key` is the thread's id, so a thread cannot have two.
CREATE TABLE active_runs (key VARCHAR PRIMARY KEY, seq BIGINT NOT NULL, run_id VARCHAR NOT NULL, doc VARCHAR NOT NULL);
