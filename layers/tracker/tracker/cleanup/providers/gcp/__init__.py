"""This is what is at Google Cloud: one file per deployment type, and the way there that they share."""

import logging

# Below that Google's clients log requests and answers.
logging.getLogger("google").setLevel(logging.INFO)
