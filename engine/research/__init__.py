"""How research is ordered: providers and their limits, prompts, and the schema of an answer."""
