"""Stage 6, report: results as text, JSON, JUnit XML and Markdown, and the page of each check."""
