"""Cases: directories of specs or samples, with the expected results."""
