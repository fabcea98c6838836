"""Tests of pfiflow.segur."""
