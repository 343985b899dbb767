"""`sendoff up`: the processes of an installation on one machine, started, watched and stopped."""
