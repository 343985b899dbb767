"""Statements on the installation as a whole: its figures, its upkeep, its export."""
