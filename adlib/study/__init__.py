"""What is made of the rows: the study's plan, the papers' numbers beside ours, the claims and how sure they are.

Which runs there are: `grids`. What the papers print: `paper`, and where a paper contradicts itself: `contradictions`.
Rows beside them: `paper_tables`; side by side: `tables`, `ranking` (accuracy beside cost, mean ranks), `guide` (which
method to take, in sentences). The claims: `claims`, with `pairs`, `scope` and `filters` (which rows count),
`diagnostics`, `speed_claims`, `timings` (other libraries'), `intervals` and `verdicts`. `publish` writes
`results/claims.csv` and the tables of the README.
"""
