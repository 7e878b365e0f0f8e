"""The program on the device: it holds its site's data, runs its apps, and syncs when it can."""
