"""Tile relations as integer sets, and what they become: pieces of a schedule and bounds of its terms."""
