"""What is made of the rows: the study's plan, the papers' numbers beside ours, the claims and how sure they are.

The tree in CONTRIBUTING.md says which file is for what.
"""
