"""The delivery engine: claim, prepare, exchange, judge, record; what may go when; dead letters; the sweep."""
