"""Orders: research bought from providers, each with its question, its price and the budget it counts against."""
