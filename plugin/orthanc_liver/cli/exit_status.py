"""How a command tells scripts what became of it; 0 is done."""

SOME_FAILED = 1
# 2 is argparse's, for words that it does not understand.
REFUSED = 3
NO_LIVER = 4
STOPPED = 130  # as a shell calls what Ctrl-C ended
