"""The command line, the bootstrap, the benchmarks, the generated pages, and the three backfill scripts."""
