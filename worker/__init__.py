"""Process 2: an arq worker. It runs jobs, the sweeper and housekeeping, and hosts the delivery engine."""
