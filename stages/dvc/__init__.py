"""All that Decant knows of DVC."""
