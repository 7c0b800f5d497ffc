"""`rt-report analysis NAME`: one file per question, answered from runs or published tables."""
