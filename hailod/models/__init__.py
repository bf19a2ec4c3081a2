"""Model files, and what must be known of them beside their weights."""
