"""The papers' settings of each method (no torch is imported here)."""
