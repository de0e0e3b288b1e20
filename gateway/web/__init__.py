"""The web pages: static files of the package, without a build step and without files from other hosts."""

from gateway.web.pages import pages

__all__ = ["pages"]
