"""Image few-shot: backbones and methods."""
