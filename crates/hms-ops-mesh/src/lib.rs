//! Moves traffic between clusters: the shift engine and the mesh backends.
