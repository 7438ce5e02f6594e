"""Orders of tokens: permutations, and programs over the positions of one."""
