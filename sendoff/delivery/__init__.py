"""The delivery engine: claim, prepare, exchange, classify, record; what may go when; dead letters; the sweep."""
