"""HTTP below the routes: connections, the protocol's bounds, and what every request passes through."""
