"""Turns a described scene into pixels: meshes, light, cameras, surroundings and the degradations of a photograph."""
