"""`/dashboard`: what operators see and do across organizations, in a browser."""
