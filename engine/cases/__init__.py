"""Test cases of specs: directories that hold specs or sample outputs, and the results expected of them."""
