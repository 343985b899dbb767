"""The Dialbird surface: `/api/v1/subscriptions`, `/api/v1/me`, `/health`, and everything beneath these paths."""
