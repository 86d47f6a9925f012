"""tlkit: fine-tune an image classifier on a folder of pictures, and get a report you can trust."""

__version__ = "0.1.0"
