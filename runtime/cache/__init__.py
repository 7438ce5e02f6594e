"""The cache on disk: kernels and choices, shared by processes, hardened against kills and damage."""
