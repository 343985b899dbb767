"""The delivery engine: claim, prepare, exchange, classify, record; dispatcher, backlog, ordered lines, sweep."""
