"""Process 2: translates arq jobs to operations. It decides nothing."""
