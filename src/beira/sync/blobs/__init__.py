"""The blobs' lane, both halves: content by its SHA-256, in chunks that resume and are verified."""
