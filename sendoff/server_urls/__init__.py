"""The settings that name servers by a URL, taken apart and checked at start."""
