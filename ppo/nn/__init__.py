"""Parts of networks and of their training: pixels, layer normalisation, slices, Adam."""
