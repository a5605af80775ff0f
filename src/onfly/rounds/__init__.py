"""The loop in rounds: explore, label, judge, learn."""
