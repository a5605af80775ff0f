"""Labels: from any electronic-structure calculation to a checked document."""
