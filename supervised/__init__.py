"""Image few-shot classifiers."""
