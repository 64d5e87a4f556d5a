"""The versions of Ray that the tests ran with, stated only here."""

RAY = "2.60.0", "2.60.0"
"""Oldest and newest; both were tested. Ray's private parts may move in any other."""
