"""Sendoff: a self-hosted webhook delivery service. The product itself; the servers live in `api` and `worker`."""

__version__ = "0.1.0"
