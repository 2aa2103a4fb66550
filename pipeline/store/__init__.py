"""The teacher's store: its layout, manifest, writing, reading and verification.

Deliberately imports nothing: a training stage reaches `read` alone, so that an edit of `write`
leaves students as they are.
"""
