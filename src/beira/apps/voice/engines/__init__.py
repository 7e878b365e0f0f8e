"""The outside things of the voice app: where sound comes from and goes to, and who turns it to words."""
