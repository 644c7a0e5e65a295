"""Text to documents to packed token blocks, the embedded text, and labelled tasks."""
