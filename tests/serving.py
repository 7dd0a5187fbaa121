"""A server of a test's own folder, and an address where nothing listens."""

import threading
from contextlib import contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

NOBODY = "http://127.0.0.1:9/"
"""An address where nothing listens."""


class Server(SimpleHTTPRequestHandler):
    """Serves a folder, counts what is asked for, and cuts off files whose name says so."""

    asked: ClassVar[list[str]] = []

    def do_GET(self):
        self.asked.append(self.path)
        if "short" in self.path:
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"only this")
            return
        with suppress(BrokenPipeError):  # torchvision asks once only to see where it is sent
            super().do_GET()

    def log_message(self, *args):
        pass


@contextmanager
def serving(folder):
    """The address of a server of the folder."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Server, directory=folder))
    Server.asked.clear()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
