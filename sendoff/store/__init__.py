"""SQL and nothing else: engine, hot statements, queries, tables, migrations, and the vault that seals secrets."""
