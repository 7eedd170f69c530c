"""The console's pages: what coordinator and sites share of them, style and script included."""
