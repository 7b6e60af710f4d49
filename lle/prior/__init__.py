"""What CLIP knows about light: frozen image towers and learnable prompts."""
