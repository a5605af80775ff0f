"""Makers of the jobs of the loop, and the steps that they wrap."""
