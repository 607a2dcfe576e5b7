"""Faults, one small class each: `strike` injects it, `heal` removes it and waits until the affected part is healthy.

A fault knows its target (`victim`), but neither the plan nor the verdict nor other faults.
"""
