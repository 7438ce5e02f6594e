"""What a kernel reads at one launch: numbers, tables, bounds of terms, lists of tiles."""
