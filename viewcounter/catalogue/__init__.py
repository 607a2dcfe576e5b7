"""Videos and channels: their titles and who belongs to whom; the control database holds the truth.

Counting never waits for it: an unknown video is counted at once and gets its title when the catalogue learns it.
"""
