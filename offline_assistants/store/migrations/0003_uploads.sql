-- Files that arrive in parts. The rows of parts go when their upload ends.

CREATE TABLE uploads (key VARCHAR PRIMARY KEY, seq BIGINT NOT NULL, created_at BIGINT NOT NULL, project VARCHAR NOT NULL, doc VARCHAR NOT NULL);

CREATE TABLE upload_parts (key VARCHAR PRIMARY KEY, seq BIGINT NOT NULL, created_at BIGINT NOT NULL, upload_id VARCHAR NOT NULL, doc VARCHAR NOT NULL);
CREATE INDEX upload_parts_of_an_upload ON upload_parts (upload_id);
