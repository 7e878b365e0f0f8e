"""What a house does by itself: scenarios as data, compiled to steps, run by an engine without I/O."""
