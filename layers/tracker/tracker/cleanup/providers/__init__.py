"""One folder per platform, with one file per deployment type; the engine imports a file when a deployment of its type is worked on."""
