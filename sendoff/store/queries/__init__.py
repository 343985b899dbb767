"""The other statements, a file for each table or question. They take a transaction and decide nothing."""
