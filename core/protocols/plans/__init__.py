"""Plans: which cells the protocols and the matrix consist of."""
