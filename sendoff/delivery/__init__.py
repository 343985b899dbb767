"""The delivery engine: claim, prepare, exchange, classify, record; dispatcher, backlog, dead letters, sweep."""
