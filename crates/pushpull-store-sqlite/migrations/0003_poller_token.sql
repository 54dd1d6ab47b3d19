-- Tokens that read one endpoint's queue. The current one is shown again, so its text is kept too.

ALTER TABLE api_key ADD COLUMN endpoint INTEGER;   -- with scope poller
ALTER TABLE api_key ADD COLUMN token BLOB;         -- sealed; of an endpoint's current poller token
CREATE INDEX api_key_endpoint ON api_key (endpoint) WHERE endpoint IS NOT NULL;
