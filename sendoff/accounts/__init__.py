"""Organizations, their API keys, who a request speaks for: key or OAuth access token."""
