"""Students: what they read from a store, and the loss of their method."""
