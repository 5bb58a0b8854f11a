"""Flags made from configuration dataclasses."""
