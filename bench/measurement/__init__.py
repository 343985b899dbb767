"""What is measured, and how: CPU time, counters, the databases, the machine's speed, profiles."""
