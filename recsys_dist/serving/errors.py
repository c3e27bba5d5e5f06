"""Errors as JSON: one object with a message, never a trace.

404   an id that must be known is unknown
409   the model cannot answer this: it ranks and predicts no ratings, or a rating is outside its range
413   the body is too large
422   the request is malformed
503   too many requests wait, or the files of the model are being replaced; try again
"""

from __future__ import annotations

from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from recsys_dist.errors import CheckpointError, RecsysDistError, StorageError

RETRY_AFTER_S = 1


class UnknownIdError(RecsysDistError):
    """An id that must be known is not."""


class BusyError(RecsysDistError):
    """Too many requests wait already."""


def status_of(error: RecsysDistError) -> HTTPStatus:
    """The status code of an error that has a message for people."""
    if isinstance(error, UnknownIdError):
        return HTTPStatus.NOT_FOUND
    if isinstance(error, BusyError | CheckpointError | StorageError):
        return HTTPStatus.SERVICE_UNAVAILABLE
    return HTTPStatus.CONFLICT


def answer_errors(app: FastAPI) -> None:
    """Let `app` answer every error in this way."""
    app.add_exception_handler(RecsysDistError, _refused)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _failed)


def error_answer(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """The answer with this status code and message."""
    return JSONResponse({"message": " ".join(message.split())}, status, headers)


async def _refused(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RecsysDistError)
    status = status_of(error)
    if status is not HTTPStatus.SERVICE_UNAVAILABLE:
        return error_answer(status, str(error))
    return error_answer(status, str(error), {"Retry-After": str(RETRY_AFTER_S)})


async def _malformed(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return error_answer(HTTPStatus.UNPROCESSABLE_ENTITY, f"{where}: {first['msg']}")


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    if error.status_code == HTTPStatus.NOT_FOUND:
        return error_answer(
            error.status_code, f"there is no {request.url.path}; /openapi.json lists what there is"
        )
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        message = f"{request.url.path} does not take {request.method}; /openapi.json lists what there is"
        return error_answer(error.status_code, message, dict(error.headers or {}))
    return error_answer(error.status_code, str(error.detail), dict(error.headers or {}))


async def _failed(_request: Request, _error: Exception) -> JSONResponse:
    # Starlette raises the error again, and uvicorn logs it with its trace.
    return error_answer(HTTPStatus.INTERNAL_SERVER_ERROR, "the service failed; its log says where")
