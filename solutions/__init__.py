"""The answers: one plain, typed, importable module per lesson. A lesson may import earlier ones, never later ones."""
