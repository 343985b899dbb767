"""The processes of a run: the installation under test, the receiver, the load generator."""
