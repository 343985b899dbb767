"""Databases and drivers: transactions, column types, batches, pages, and what an error of a driver means."""
