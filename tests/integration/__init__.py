"""Tests against real servers on loopback: PostgreSQL, Valkey, HTTPS receivers, processes of the product."""
