"""The least that accepting, queueing, sending and recording a delivery takes, with nothing of the product in it."""
