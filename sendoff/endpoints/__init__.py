"""A customer's endpoints and subscriptions: register with a ping, change, disable, rotate the secret."""
