"""What an endpoint may be: its URL and addresses, its credentials, and which events it gets."""
