"""What customers see of their own deliveries and of the event types that there are (contracts/sendoff.md §6)."""
