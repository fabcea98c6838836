"""The pfiflow command."""
