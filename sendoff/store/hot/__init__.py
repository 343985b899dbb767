"""The statements of every delivery: accept, claim, record. Planned once, sent to the driver directly."""
