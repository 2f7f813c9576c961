"""What is answered to which request."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.exceptions import HTTPException as AnyHTTPException

from rayxkd.errors import UserError
from rayxkd.leaderboard.board import Leaderboard
from rayxkd.leaderboard.render import select
from rayxkd.leaderboard.report import page_policy
from rayxkd.leaderboard.serve.following import Following, Seen
from rayxkd.leaderboard.values import json_lines

_ROWS = 1_000


def make_app(following: Following) -> FastAPI:
    """The application, which anybody may ask: put a guard in front of it."""
    # Pages that describe the interface would be fetched from elsewhere.
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    # Plain functions: they wait for files, so they run on threads.
    @app.get("/")
    def report() -> Response:
        seen, content = following.page()
        return _html(content, {"ETag": f'"{seen.live.version}"'})

    @app.get("/version")
    def version() -> dict[str, Any]:
        seen = following.look()
        live = seen.live
        return {"version": live.version, "finished": seen.finished, "done": live.is_done}

    @app.get("/explain/{teacher:path}")
    def explain(teacher: str) -> Response:
        return _html(following.explanation(teacher), {})

    @app.get("/api/rows")
    def rows(
        sort: str | None = None,
        where: str | None = None,
        status: str | None = None,
        offset: Annotated[int, Query(ge=0)] = 0,
        limit: Annotated[int, Query(ge=1, le=_ROWS)] = 100,
    ) -> Response:
        choose = partial(select, status=status, where=where, sort=sort)
        return _rows(following.look(), choose, offset, limit)

    _tell_errors_in_a_line(app)
    return app


def _html(content: bytes, headers: dict[str, str]) -> Response:
    policy = f"{page_policy()}; frame-ancestors 'none'"
    headers = {"Content-Security-Policy": policy, **headers}
    return Response(content, media_type="text/html; charset=utf-8", headers=headers)


def _rows(
    seen: Seen, choose: Callable[[Leaderboard], Leaderboard], offset: int, limit: int
) -> Response:
    """Some of the rows that are asked for, as JSON: as ``show --format json`` gives them."""
    total, lines = 0, list[str]()
    if seen.board is not None:
        chosen = choose(seen.board)
        total = chosen.table.num_rows
        lines = list(json_lines(chosen.table.slice(offset, limit)))
    head = json.dumps({"version": seen.live.version, "total": total, "offset": offset})
    content = f'{head[:-1]}, "rows": [{", ".join(lines)}]}}'
    return Response(content, media_type="application/json")


def _tell_errors_in_a_line(app: FastAPI) -> None:
    @app.exception_handler(UserError)
    def wrong(request: Request, error: UserError) -> Response:
        statuses = {"api": 400, "explain": 404}  # elsewhere it is the leaderboard that is wrong
        return _error(request, statuses.get(request.url.path.split("/")[1], 503), str(error))

    @app.exception_handler(RequestValidationError)
    def unreadable(request: Request, error: RequestValidationError) -> Response:
        told = "; ".join(f"{one['loc'][-1]}: {one['msg']}" for one in error.errors())
        return _error(request, 400, told)

    @app.exception_handler(AnyHTTPException)
    def other(request: Request, error: HTTPException) -> Response:
        return _error(request, error.status_code, str(error.detail))

    @app.exception_handler(Exception)
    def broken(request: Request, error: Exception) -> Response:
        return _error(request, 500, f"{type(error).__name__}; the server's terminal says more")


def _error(request: Request, status: int, message: str) -> Response:
    line = " ".join(message.split())
    if request.url.path.startswith("/api/"):
        return JSONResponse({"error": line}, status)
    return PlainTextResponse(f"{line}\n", status)
