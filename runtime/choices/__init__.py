"""What is chosen of a kernel beside its program: tile shapes, configurations, orders of tokens."""
