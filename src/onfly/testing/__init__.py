"""Support for tests: real servers as processes, and pytest fixtures."""
