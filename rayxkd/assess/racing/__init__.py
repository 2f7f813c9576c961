"""Racing: who cannot be the best any more is stopped, and the budget goes to the others."""
