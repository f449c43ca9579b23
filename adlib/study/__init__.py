"""What is made of the rows: the study's plan, the papers' numbers beside ours, the claims and how sure they are.

The README's tree says which file is for what.
"""
