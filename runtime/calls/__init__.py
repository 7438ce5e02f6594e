"""Calls of attention: the public functions, torch's operators, and what an earlier call left."""
