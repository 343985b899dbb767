"""The experiments of `python -m bench.scale`, a file for each, and what several of them measure."""
