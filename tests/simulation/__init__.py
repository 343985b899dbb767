"""Whole processes in one event loop without time: API, workers, sweepers on real SQL, with all faults from one seed."""
