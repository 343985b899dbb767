"""What goes through: events, deliveries, dead letters and replays; publishing, receiving and verifying by hand."""
