"""What the player costs: deciding, syncing 1,000 shops, and making a library ready."""
