"""Tables and figures in their formats: Markdown, CSV, LaTeX, PDF, HTML."""
