"""Support for tests and rehearsals: stand-ins for programs that need a licence."""
