"""The eager backend: torch operations, tile by tile."""
