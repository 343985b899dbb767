"""What the state machine's test is made of: a harness with fake edges, pictures of the database, invariants."""
