"""Installations over several hosts, each a network namespace on one bridge: root only, run by `make chaos-hosts`."""
