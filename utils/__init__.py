"""Metrics, video files, evaluation loops, reports and plots."""
