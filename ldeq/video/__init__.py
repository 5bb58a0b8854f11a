"""Videos: reading, writing, sound, and where frames come from. Works where PyTorch is not installed."""
