"""The report as one HTML page that needs nothing but a browser."""

from rl_lab.report.page.content import Content
from rl_lab.report.page.render import render

__all__ = ["Content", "render"]
