"""Moves of partitions as records: asked for, taken up, written down step by step. Never copies a row: that is
`viewcounter.moves`.
"""
