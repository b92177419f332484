"""How what was deployed goes: the engine, and one folder per platform. Loaded by release and plan alone."""
