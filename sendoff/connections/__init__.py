"""Connections to servers of which one may be lost: the nodes of a Redis cluster, Sentinels, hosts that vanish."""
