"""What makes the sound: mpv in a process of its own."""
