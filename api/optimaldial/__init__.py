"""The OptimalDial surface: `/api/v1/webhooks` and `/api/v1/uploads`."""
