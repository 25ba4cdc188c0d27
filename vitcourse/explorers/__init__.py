"""Interactive explorers, each with a static picture as its fallback."""
