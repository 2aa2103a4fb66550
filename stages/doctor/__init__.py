"""What `decant doctor` looks at: the environment, and the project."""
