"""The durable store behind channels: protocol, SQLite, in-memory twin."""
