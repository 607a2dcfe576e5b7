"""The cluster proxy of this process: where topology comes from, and which settings it gets."""
