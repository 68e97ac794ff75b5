"""The game: Alice hands her cache over a wire to Bob, who sees nothing else, and what comes back is counted."""
