"""What keeps an installation small and its secrets fresh: purge of what retention has outlived, key rotation."""
