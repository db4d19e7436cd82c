"""What the servers on localhost share that play datasets and web services."""

from http.server import BaseHTTPRequestHandler


class Answers(BaseHTTPRequestHandler):
    """Sends a body whole, or in chunks without saying beforehand how long it is."""

    def answer(self, body, status=200, headers=None):
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)

    def answer_in_chunks(self, body):
        self.protocol_version = "HTTP/1.1"
        self.close_connection = True
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for piece in (body[:1000], body[1000:], b""):
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))

    def log_message(self, *_):
        pass
