"""Kernels ahead of time: folders that run where there is no compiler."""
