"""A router before several installations (cells): it finds the cell of each request's organization, and forwards it.

Each cell is a whole Sendoff with a database of its own, and knows nothing of the others. The router keeps nothing: the
cells say whose key a request carries, which is remembered for a minute.
"""
