"""The commands of `decant store`."""
