"""Masks on sequences of several grids, part by part."""
