"""Tests of the worker process, in this process."""
