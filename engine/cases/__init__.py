"""Cases: directories that hold specs or samples, and what has to come of them."""
