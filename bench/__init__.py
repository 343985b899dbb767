"""The benchmark: the real processes, measured from the outside. `python -m bench --help`, `make bench`."""
