"""Results as tables and as one HTML page that needs nothing from anywhere: curves, charts, an explanation of each figure.

Knows no server. Imports from run of this package.
"""
