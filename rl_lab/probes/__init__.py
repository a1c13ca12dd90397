"""How sensitive is it? Exponents of worlds, and later of closed loops, training runs and networks."""
