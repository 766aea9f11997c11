"""What must hold before a deployment is started: checks, each with what was found, what is expected and the remedy."""
