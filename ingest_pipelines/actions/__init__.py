"""What a person asks of the product: look, steer, run, correct. `cli/` prints it, `studio/` shows it; no rule is there.

Nothing heavy is imported before an action needs it.
"""
