"""Accept events: check the type and data, match endpoints, commit an event with its deliveries in batches."""
