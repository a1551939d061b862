"""The root of the API and the catalog."""

from starlette.responses import JSONResponse, Response

from registry.api.call import Call
from registry.api.paging import Page
from registry.repositories import Repositories


class RepositoryEndpoints:
    def __init__(self, repositories: Repositories) -> None:
        self._repositories = repositories

    async def root(self, _call: Call) -> Response:
        """end-1."""
        return JSONResponse({})

    async def catalog(self, call: Call) -> Response:
        """Not in the spec, but asked by clients: as CNCF distribution answers it, of what the caller may pull."""
        page = Page.parse(call.request.query_params)
        names = await self._repositories.list_seen(page.last, page.limit + 1, call.may_list)
        shown, has_more = page.cut([name.value for name in names])
        return JSONResponse(
            {"repositories": shown},
            headers=page.link(f"{call.public_url}/v2/_catalog", shown[-1]) if has_more else None,
        )
