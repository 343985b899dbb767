"""The product that publishes here: contact lists that customers upload. Delivery knows nothing of it."""
