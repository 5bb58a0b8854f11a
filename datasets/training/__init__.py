"""What a network is trained on: sources of faces, augmentation, batches."""
