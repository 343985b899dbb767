"""Names, sockets and the egress proxy: resolve, check every address, connect to a checked one."""
