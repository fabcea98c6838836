"""Feeding the DMP: the messages of ITI-41, ITI-57 and ITI-18 with their VIHF, and what the answers mean.

Pure functions and frozen values over bytes; no network, no clock. What the public sources leave open is a setting with
its default (`docs/decisions/0006-dmp-messages.md`).
"""
