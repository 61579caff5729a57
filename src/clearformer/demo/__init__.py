"""The whole story in one command: two models are trained, four things are proven, and a report is written."""
