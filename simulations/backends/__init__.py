"""Where the nodes of a simulated federation run."""
