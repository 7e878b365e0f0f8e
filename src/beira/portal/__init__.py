"""The pages people use, the same on a node and in the cloud.

`desk` admits and answers every request, `visit` is one of them as a page sees it, `live` tells open
pages what changed, `kept` shows what was last seen while the database is away. Apps add their own
pages by `host.page`; the portal's are in `pages`.
"""

from beira.portal.plugin import Portal

__all__ = ["Portal"]
