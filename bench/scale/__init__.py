"""What happens as things grow: workers, endpoints, fan-out, backlog, history. `python -m bench.scale --help`."""
