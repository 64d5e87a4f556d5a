"""Searches rehearsed on recorded trials."""
