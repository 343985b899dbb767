"""An endpoint's state: how it changes, when failures switch it off, and what becomes of its deliveries then."""
