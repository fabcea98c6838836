"""French health value sets (JDV, ASS), as dated data."""
