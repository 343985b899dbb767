"""Periodic maintenance: purging rows past their retention, and rotating encryption keys."""
