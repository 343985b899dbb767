"""What the state machine's test is made of: a stage with fake edges, pictures of the database, invariants."""
