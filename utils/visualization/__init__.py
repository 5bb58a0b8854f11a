"""Plots and annotated videos. Only this package imports matplotlib."""
