"""The HTTP side: routes built from plans, who may call them, and how a failure is answered. It imports the engine."""
