"""What computes landmarks from crops."""
