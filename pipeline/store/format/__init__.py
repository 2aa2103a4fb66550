"""Layout, manifest, codecs, checks and errors of a store."""
