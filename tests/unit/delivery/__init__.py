"""The pure parts of the delivery engine."""
