"""A Hugging Face hub on this machine: what its client asks of a model repository, from files in memory."""

import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

COMMIT = "89abcdef0123456789abcdef0123456789abcdef"


@contextmanager
def hub_server(repositories):
    """Serve {repository: {file: bytes}}; yields (address, list of (method, path) that were asked)."""
    requests = []

    class Hub(BaseHTTPRequestHandler):
        def log_message(self, *words):
            pass

        def answer(self, code, content=b"", **headers):
            self.send_response(code)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("X-Repo-Commit", COMMIT)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        def do_GET(self):
            path = unquote(self.path.partition("?")[0])
            requests.append((self.command, path))
            for repository, files in repositories.items():
                if path.startswith(f"/{repository}/resolve/"):
                    file = path.split("/", 5)[5]
                    if file in files:
                        etag = hashlib.sha1(files[file]).hexdigest()
                        return self.answer(200, files[file], ETag=f'"{etag}"')
                    return self.answer(404, X_Error_Code="EntryNotFound", X_Error_Message="no such entry")
                if path.startswith(f"/api/models/{repository}/tree/"):
                    tree = [
                        {"type": "file", "path": name, "size": len(content), "oid": "0" * 40}
                        for name, content in files.items()
                    ]
                    return self.answer(200, json.dumps(tree).encode(), Content_Type="application/json")
                if path.startswith(f"/api/models/{repository}"):
                    names = [{"rfilename": name} for name in files]
                    info = {"id": repository, "sha": COMMIT, "siblings": names, "private": False}
                    info |= {"downloads": 0, "likes": 0, "tags": []}
                    return self.answer(200, json.dumps(info).encode(), Content_Type="application/json")
            return self.answer(404, X_Error_Code="RepoNotFound", X_Error_Message="no such repository")

        do_HEAD = do_GET

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", requests
    finally:
        server.shutdown()
        server.server_close()
