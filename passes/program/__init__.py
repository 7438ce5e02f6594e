"""Programs rewritten: into the form that analyses read, over positions, for some heads, seen from the values of a call."""
