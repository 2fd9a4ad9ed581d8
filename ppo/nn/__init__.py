"""What makes the networks fast: preprocessing, layer normalisation, the optimiser."""
