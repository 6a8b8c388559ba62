"""What the official code computes, without any saving: the oracle and measure of the fast paths."""
