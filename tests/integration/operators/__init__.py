"""Operators' functions against real databases."""
