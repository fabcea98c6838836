"""Tests of the engine, about a bakery: it knows no health care."""
