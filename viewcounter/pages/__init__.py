"""Pages for people who count views: lists of videos and channels, and one page for each of them.

Reads only, through `queries`; HTML by Django's templates, charts as SVG from the server. Never changes anything.
"""
