"""Bringing WFLW-V to disk as it is published: id lists, boxes, landmarks, and the videos, cut and checked."""
