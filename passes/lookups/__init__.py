"""Tables are read inside their extents: proved where that can be, else looked for, else refused."""
