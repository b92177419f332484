"""This is how what was deployed goes: the engine, and one folder per platform. Loaded by release and plan alone."""

import logging

# Below that botocore logs whole requests and answers: session tokens, and secrets.
logging.getLogger("botocore").setLevel(logging.INFO)
