"""What operators ask and do across organizations: queries, actions, replays, reconciliation."""
