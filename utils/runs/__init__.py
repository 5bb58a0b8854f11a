"""What a run leaves on disk, and how an interrupted one goes on."""
