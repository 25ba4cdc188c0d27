"""Visible checks and the answers to questions, one module per lesson."""
