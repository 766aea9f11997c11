"""Results as tables and as one self-contained HTML page: curves, charts, an explanation of each figure.

Knows no server. Imports from run of this package.
"""
