"""Processors: each joins one domain function to the flow."""
