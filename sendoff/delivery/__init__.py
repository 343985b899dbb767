"""The delivery engine: claim, prepare, exchange, classify, record; the dispatcher and the backlog."""
