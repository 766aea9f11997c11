"""From a checkpoint to an engine to a rendered repository to a running server; and the command line."""
