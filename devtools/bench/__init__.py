"""Benchmarks on servers of their own: started from nothing, measured, gone afterwards.

Each step that needs the service's own code runs in a process of its own (`steps`), with the settings of the temporary
cluster, as a worker would; the orchestrator only starts, measures from outside and adds up.
"""
