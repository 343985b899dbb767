"""TLS of outgoing connections: whom to trust, how many handshakes at once, how many bytes they may take."""
