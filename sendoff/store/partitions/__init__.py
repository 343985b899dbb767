"""The history of a PostgreSQL database in partitions by time: events, deliveries and attempts (docs/decisions/0033)."""
