"""Worlds: what changes, and how."""
