"""Learners of behaviour."""
