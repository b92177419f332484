"""The pure part: what a deployment is, what its type needs, and what an operator can set. It knows no store and no cloud."""
