-- Tasks that are not done, found by their endpoint without passing over those that are.

CREATE INDEX recovery_unfinished ON recovery (endpoint) WHERE NOT done;
