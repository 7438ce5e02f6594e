"""Masks on a grid, axis by axis."""
