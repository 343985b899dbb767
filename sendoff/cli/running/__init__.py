"""The installation itself: start, upgrade, watch, check, move."""
