"""What computes: the loops of evaluation and training, losses, averages, processes."""
