"""Who uses the installation, and what they registered: organizations, keys, endpoints, event types, secrets."""
