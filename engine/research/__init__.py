"""What research is made of: providers and their limits, prompts, and the JSON Schema of an answer."""
