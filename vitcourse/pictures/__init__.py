"""The figures of the lessons, one module per lesson, so that notebooks stay about the idea."""
