"""Outgoing HTTP and nothing else. Every connection goes to an address that the policy allowed."""
