"""What cuts into tiles cost: exact counts, and models of processors and GPUs."""
