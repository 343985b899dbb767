"""The HTTP/1.1 client: messages, connections, the pool, one deadline for a whole exchange, bounded bodies."""
