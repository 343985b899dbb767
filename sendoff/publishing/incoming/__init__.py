"""Events as they come in, over HTTP or from a message broker: decoded and checked, `data` the bytes that were sent."""
