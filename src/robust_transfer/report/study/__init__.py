"""What each table, claim and finding of the study is."""
