"""Looking at patterns: tiles, pictures, simulations, and what is right by definition."""
