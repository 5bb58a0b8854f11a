"""Runtimes: the libraries that compute landmarks from crops."""
