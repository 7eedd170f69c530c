"""What every report page is drawn with: SVG, charts, numbers as text, style, macros."""
