"""The operators' command line: one file per noun. It translates words to operations and decides nothing."""
