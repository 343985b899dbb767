"""What every process does when it starts: its data directory, its limits, and what it opens."""
