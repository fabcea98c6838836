"""Real protocol peers on loopback, for the demo and the tests."""
