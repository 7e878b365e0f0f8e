"""The cloud's half of sync: the doors, one conversation a node, and what owners see and mend."""
