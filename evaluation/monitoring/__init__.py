"""Watching a model after training: windows of counts against a frozen reference."""
