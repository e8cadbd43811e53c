-- Chat completions that were stored, with what was asked.

CREATE TABLE chat_completions (key VARCHAR PRIMARY KEY, seq BIGINT NOT NULL, created_at BIGINT NOT NULL, project VARCHAR NOT NULL, doc VARCHAR NOT NULL);
