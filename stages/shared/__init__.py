"""What commands share: options, progress, tables for the terminal."""
