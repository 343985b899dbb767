"""Tests without servers, sockets or processes: a second or two each file, run by `make unit`."""
