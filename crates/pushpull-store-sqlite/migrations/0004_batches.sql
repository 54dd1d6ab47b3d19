-- Messages of one request to an endpoint that keeps order, and how long is waited for as many.

ALTER TABLE endpoint ADD COLUMN batch_size INTEGER NOT NULL DEFAULT 1;
ALTER TABLE endpoint ADD COLUMN batch_wait_secs INTEGER NOT NULL DEFAULT 0;
