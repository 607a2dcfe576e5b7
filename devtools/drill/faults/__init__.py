"""What is done to the cluster, a small class each: `strike` does it, `heal` undoes it and waits until all is whole.

A fault knows whom it has hurt (`victim`) and nothing of the plan, the load's verdict or other faults.
"""
