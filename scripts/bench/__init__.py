"""`make bench`: benchmarks of the engine, compared with hand-written programs that do the same."""
