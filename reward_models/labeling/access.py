"""Lets in who has the token: programs send it in a header, people open an address that holds it once."""

import hmac
from http.cookies import SimpleCookie
from urllib.parse import parse_qs

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "roboreward_token"


class TokenRequired:
    """ASGI middleware over pages, videos and their web sockets alike.

    Args:
        app: What is behind it.
        token: What programs send as a bearer token, and people as `?token=...` on their first visit.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what carries the token; answer anything else with 401, or close its web socket."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        asked = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token", [""])[0]
        sent = (
            headers.get("authorization", "").removeprefix("Bearer "),
            cookie.value if cookie else "",
        )
        if any(self._matches(one) for one in sent):
            await self._app(scope, receive, send)
        elif self._matches(asked):
            await self._app(scope, receive, self._with_cookie(send))
        elif scope["type"] == "http":
            answer = PlainTextResponse(
                "This page needs its token: open the address that the server printed.\n", 401
            )
            await answer(scope, receive, send)
        else:
            await receive()
            await send({"type": "websocket.close", "code": 1008})

    def _matches(self, sent: str) -> bool:
        # In constant time: the time of the answer does not tell how much of a guess was right.
        return hmac.compare_digest(sent.encode(), self._token.encode())

    def _with_cookie(self, send: Send) -> Send:
        cookie = f"{COOKIE}={self._token}; Path=/; HttpOnly; SameSite=Strict".encode()

        async def send_with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), (b"set-cookie", cookie)]
            await send(message)

        return send_with_cookie
