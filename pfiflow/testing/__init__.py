"""Tests of routes: formats that tests look into, and the pytest plugin."""
