"""Periodic maintenance: purging, key rotation, and the repair of times after the wall clock was set back."""
