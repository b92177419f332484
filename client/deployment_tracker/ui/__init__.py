"""`tracker ui`: a page on this machine that shows a stack, and signs its calls with the user's own credentials."""
