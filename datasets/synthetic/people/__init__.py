"""People who do not exist: their heads, skin and belongings, posed and with an expression, and their 98 landmarks."""
