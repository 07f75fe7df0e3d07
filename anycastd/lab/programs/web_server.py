"""Program: a web server whose answers name the region and the server.

Usage: `python -m anycastd.lab.programs.web_server ADDRESS REGION TITLE NAME`.
"""

from __future__ import annotations

import asyncio
import sys

READY = "listening"
"""What the program prints when it accepts connections."""


async def serve(address: str, region: str, title: str, name: str) -> None:
    """Answer every request on port 80 of ``address``, with keep-alive, until killed.

    ``region`` and ``name`` go into the headers X-Region and X-Server, ``title`` into the text.
    Raises OSError where it cannot listen there.
    """
    body = f"I'm running this website in {title} ({name})\n".encode()
    answer = (
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
        f"X-Region: {region}\r\nX-Server: {name}\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()

    async def handle_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(answer if head.startswith(b"HEAD ") else answer + body)
                if b"connection: close" in head.lower() or b" HTTP/1.0\r\n" in head:
                    break
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle_connection, address, 80, backlog=1024)
    print(READY, flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:]))
