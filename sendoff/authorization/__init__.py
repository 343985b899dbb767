"""What requests to endpoints are authorized with: opened credentials and signing secrets, OAuth2 tokens."""
