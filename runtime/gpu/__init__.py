"""GPUs: which one a device is, and how compiled kernels are started there."""
