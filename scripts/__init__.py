"""The command line, the bootstrap, the benchmarks and the three backfill scripts."""
