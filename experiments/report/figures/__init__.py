"""Figures of the report as inline SVG, for light and dark pages."""
