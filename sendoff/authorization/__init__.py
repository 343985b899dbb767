"""Signed requests to endpoints and what authorizes them: credentials, signing secrets and OAuth2 tokens, opened."""
