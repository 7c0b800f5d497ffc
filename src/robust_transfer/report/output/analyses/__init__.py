"""`rt-report analysis NAME`: one file a question, answered from runs or published tables."""
