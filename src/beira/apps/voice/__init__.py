"""Aurora: a shop's voice assistant. See ARCHITECTURE.md."""
