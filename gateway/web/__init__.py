"""The pages: plain files from the package, no build step, nothing from another host."""

from gateway.web.pages import pages

__all__ = ["pages"]
