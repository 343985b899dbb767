"""Publishing: `POST /api/v1/events`, its batch, and an event with its deliveries."""
