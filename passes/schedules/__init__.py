"""From a program to the loops that a kernel has: which tiles are met, and in which of them every pair is attended."""
