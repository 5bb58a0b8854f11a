"""Faces in frames: crops, detectors, tracking from frame to frame. Works where PyTorch is not installed."""
