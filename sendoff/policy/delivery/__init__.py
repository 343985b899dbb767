"""What becomes of a delivery: whether it may be sent now, what an attempt means, and what follows from it."""
