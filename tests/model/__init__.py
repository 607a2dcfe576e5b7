"""Model of the event log with an identity: the rules of decision 0034, before the code that keeps them."""
