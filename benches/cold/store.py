"""A bucket that is far away: a read-only S3 over a local directory, with seeded delays and counts.

Path-style addresses only: the first part of a path is the bucket, a folder of the directory. Any signature is accepted, and none. Every request waits
for its first byte, lognormally distributed; a body then comes no faster than one connection, and all bodies together no faster than the bandwidth in
all. `/-/reset?seed=N&...` begins a run, with the delays of that seed; `/-/counts` says what was asked since.

It is a plain asyncio protocol, because what it adds to the delays must be small beside them; `probe.py` measures that.
"""

import argparse
import asyncio
import hashlib
import json
import math
import mmap
import os
import random
import urllib.parse
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from pathlib import Path
from statistics import NormalDist
from xml.sax.saxutils import escape

CHUNK_BYTES = 64 << 10
KEYS_MAX = 1_000
HEAD_BYTES_MAX = 64 << 10
XMLNS = "http://s3.amazonaws.com/doc/2006-03-01/"
REASONS = {200: "OK", 206: "Partial Content", 304: "Not Modified", 400: "Bad Request", 404: "Not Found"}
REASONS |= {405: "Method Not Allowed", 412: "Precondition Failed", 416: "Range Not Satisfiable"}


@dataclass
class Pace:
    """How slow the store is. Zero means without bound, or without delay."""

    p50_ms: float = 30.0
    p99_ms: float = 120.0
    connection_mb_s: float = 80.0
    total_mb_s: float = 600.0

    def first_byte_s(self, draw):
        if self.p50_ms == 0.0:
            return 0.0
        sigma = math.log(self.p99_ms / self.p50_ms) / NormalDist().inv_cdf(0.99)
        return draw.lognormvariate(math.log(self.p50_ms), sigma) / 1e3


@dataclass
class Counts:
    """Of one run. A request's wave is one more than the greatest among the requests that were answered before it came."""

    gets: int = 0
    heads: int = 0
    lists: int = 0
    connections: int = 0
    bytes: int = 0
    waves: int = 0
    answered: int = 0
    requests: list = field(default_factory=list)

    def begin(self, kind):
        setattr(self, kind, getattr(self, kind) + 1)
        return self.answered + 1

    def end(self, wave, line):
        self.answered = max(self.answered, wave)
        self.waves = max(self.waves, wave)
        self.requests.append(line)


class Refused(Exception):
    """An answer without an object: a status, and S3's name for it."""

    def __init__(self, status, code):
        super().__init__(code)
        self.status, self.code = status, code


class Far:
    """The directory, the pace and what was counted: shared by all connections."""

    def __init__(self, root, pace, seed):
        self.root, self.pace = Path(root).resolve(), pace
        self.files, self.total_free = {}, 0.0
        self.reset(seed)

    def reset(self, seed):
        self.draw, self.counts = random.Random(seed), Counts()

    def path(self, bucket, key):
        path = (self.root / bucket / key).resolve()
        if not path.is_relative_to(self.root / bucket) or not (self.root / bucket).is_dir():
            raise Refused(404, "NoSuchBucket")
        return path

    def open(self, bucket, key):
        """The bytes of a file, kept mapped, and its state."""
        path = self.path(bucket, key)
        try:
            state = path.stat()
        except OSError:
            raise Refused(404, "NoSuchKey") from None
        if not path.is_file():
            raise Refused(404, "NoSuchKey")
        known = self.files.get(path)
        stamp = (state.st_mtime_ns, state.st_size, state.st_ino)
        if known is None or known[0] != stamp:
            with path.open("rb") as file:
                bytes_ = memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)) if state.st_size else memoryview(b"")
            known = (stamp, bytes_)
            self.files[path] = known
        return known[1], tag(state), formatdate(state.st_mtime, usegmt=True)

    def turn(self, now, bytes_):
        """When so many bytes have passed, of all that flow at once."""
        if not self.pace.total_mb_s:
            return now
        self.total_free = max(self.total_free, now) + bytes_ / (self.pace.total_mb_s * 1e6)
        return self.total_free

    def listed(self, bucket, query):
        """ListObjectsV2: keys and common prefixes after a place, as XML."""
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        after = query.get("continuation-token") or query.get("start-after", "")
        limit = min(int(query.get("max-keys", KEYS_MAX)), KEYS_MAX)
        root = self.path(bucket, "")
        keys = []
        # Only the folder that the prefix names is walked.
        for folder, _, names in os.walk(root / prefix.rpartition("/")[0]):
            keys += [os.path.relpath(os.path.join(folder, name), root) for name in names]
        rows, seen, cut = [], set(), None
        for key in sorted(key for key in keys if key.startswith(prefix)):
            group = prefix + key[len(prefix) :].split(delimiter)[0] + delimiter if delimiter in key[len(prefix) :] and delimiter else None
            place = group or key
            if place <= after or place in seen:
                continue
            if len(seen) == limit:
                cut = rows[-1][0]
                break
            seen.add(place)
            rows.append((place, group is not None))
        return self._list_xml(bucket, prefix, delimiter, limit, rows, cut)

    def _list_xml(self, bucket, prefix, delimiter, limit, rows, cut):
        parts = [f'<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="{XMLNS}"><Name>{escape(bucket)}</Name>']
        parts.append(f"<Prefix>{escape(prefix)}</Prefix><Delimiter>{escape(delimiter)}</Delimiter><MaxKeys>{limit}</MaxKeys>")
        parts.append(f"<KeyCount>{len(rows)}</KeyCount><IsTruncated>{'true' if cut else 'false'}</IsTruncated>")
        if cut:
            parts.append(f"<NextContinuationToken>{escape(cut)}</NextContinuationToken>")
        for place, group in rows:
            if group:
                parts.append(f"<CommonPrefixes><Prefix>{escape(place)}</Prefix></CommonPrefixes>")
                continue
            state = self.path(bucket, place).stat()
            when = formatdate_iso(state.st_mtime)
            parts.append(f"<Contents><Key>{escape(place)}</Key><LastModified>{when}</LastModified>")
            parts.append(f"<ETag>{escape(tag(state))}</ETag><Size>{state.st_size}</Size><StorageClass>STANDARD</StorageClass></Contents>")
        return "".join([*parts, "</ListBucketResult>"]).encode()


def tag(state):
    """A strong ETag: of a file's state, for it would take long to read a large one."""
    stamp = (state.st_mtime_ns, state.st_size, state.st_ino)
    return f'"{hashlib.md5(repr(stamp).encode()).hexdigest()}"'


def formatdate_iso(seconds):
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def ranged(text, size):
    """The half-open range that a Range header asks of `size` bytes, or None for all of them."""
    if text is None or not text.startswith("bytes=") or "," in text:
        return None
    first, _, last = text[len("bytes=") :].strip().partition("-")
    if first == "":
        start, end = max(size - int(last), 0), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
    if start >= end:
        raise Refused(416, "InvalidRange")
    return start, end


def same(tags, etag):
    return any(tag.strip().removeprefix("W/").strip('"') in ("*", etag.strip('"')) for tag in tags.split(","))


class Connection(asyncio.Protocol):
    """One connection; requests are answered one after the other."""

    def __init__(self, far):
        self.far, self.loop = far, asyncio.get_running_loop()
        self.received, self.queue, self.task = b"", [], None
        self.free, self.flowing = 0.0, asyncio.Event()
        self.flowing.set()

    def connection_made(self, transport):
        self.transport = transport
        self.far.counts.connections += 1

    def connection_lost(self, _):
        if self.task:
            self.task.cancel()
        self.flowing.set()

    def pause_writing(self):
        self.flowing.clear()

    def resume_writing(self):
        self.flowing.set()

    def data_received(self, data):
        came = self.loop.time()
        self.received += data
        while (end := self.received.find(b"\r\n\r\n")) >= 0:
            head, self.received = self.received[:end], self.received[end + 4 :]
            self.queue.append((came, head.decode("latin-1")))
        if len(self.received) > HEAD_BYTES_MAX:
            self.transport.abort()
        elif self.queue and (self.task is None or self.task.done()):
            self.task = self.loop.create_task(self.answer_all())

    async def answer_all(self):
        while self.queue:
            came, head = self.queue.pop(0)
            line, *fields = head.split("\r\n")
            method, target, _ = line.split(" ", 2)
            headers = {name.lower(): value.strip() for name, _, value in (one.partition(":") for one in fields)}
            address = urllib.parse.urlsplit(target)
            query = dict(urllib.parse.parse_qsl(address.query, keep_blank_values=True))
            path = urllib.parse.unquote(address.path)
            if path.startswith("/-/"):
                self.control(path, query)
            elif int(headers.get("content-length", 0)):
                # Bodies belong to writes; what follows on this connection would be one.
                self.plain(405, b"")
                self.transport.close()
            else:
                await self.counted(came, method, path, query, headers)

    def control(self, path, query):
        far = self.far
        if path == "/-/reset":
            for name in vars(far.pace):
                if name in query:
                    setattr(far.pace, name, float(query[name]))
            far.reset(int(query.get("seed", 1)))
        self.plain(200, json.dumps({**vars(far.counts), "pace": vars(far.pace)}).encode(), {"content-type": "application/json"})

    async def counted(self, came, method, path, query, headers):
        far, counts = self.far, self.far.counts
        bucket, _, key = path.lstrip("/").partition("/")
        kind = "heads" if method == "HEAD" else "gets" if key else "lists"
        wave = counts.begin(kind)
        first_byte_s = far.pace.first_byte_s(far.draw)
        await self.until(came + first_byte_s)
        begun, sent, status = self.loop.time(), 0, 200
        try:
            if method not in ("GET", "HEAD"):
                raise Refused(405, "MethodNotAllowed")
            if key:
                status, sent = await self.object(begun, method, bucket, key, headers)
            else:
                body = far.listed(bucket, query)
                sent = len(body)
                self.plain(200, body, {"content-type": "application/xml"})
        except Refused as refused:
            status = refused.status
            xml = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{refused.code}</Code><Message>{refused.code}</Message><Key>{escape(key)}</Key></Error>'
            self.plain(status, b"" if method == "HEAD" else xml.encode(), {"content-type": "application/xml"})
        ended = self.loop.time()
        counts.bytes += sent
        line = {"what": kind, "path": path, "range": headers.get("range"), "status": status, "wave": wave, "bytes": sent}
        counts.end(wave, line | {"came_s": round(came, 5), "first_s": round(begun - came, 5), "ended_s": round(ended, 5), "drawn_s": round(first_byte_s, 5)})

    async def object(self, begun, method, bucket, key, headers):
        """Answers with a file or a part of it: the status, and how many bytes of body went out."""
        body, etag, modified = self.far.open(bucket, key)
        fields = {"etag": etag, "last-modified": modified, "accept-ranges": "bytes", "content-type": "application/octet-stream"}
        if "if-match" in headers and not same(headers["if-match"], etag):
            raise Refused(412, "PreconditionFailed")
        if "if-none-match" in headers and same(headers["if-none-match"], etag):
            self.head(304, None, fields)
            return 304, 0
        part = ranged(headers.get("range"), len(body))
        status = 200
        if part is not None:
            status, fields["content-range"] = 206, f"bytes {part[0]}-{part[1] - 1}/{len(body)}"
            body = body[part[0] : part[1]]
        self.head(status, len(body), fields)
        if method == "HEAD":
            return status, 0
        await self.flow(begun, body)
        return status, len(body)

    async def flow(self, begun, body):
        """Sends a body at the pace of one connection, and of all."""
        pace = self.far.pace.connection_mb_s
        step_s = 1.0 / (pace * 1e6) if pace else 0.0
        # By the clock since the first byte: a chunk that this program sent late does not delay those after it.
        passed = begun
        for start in range(0, len(body), CHUNK_BYTES):
            chunk = body[start : start + CHUNK_BYTES]
            passed = max(passed + len(chunk) * step_s, self.far.turn(passed, len(chunk)))
            await self.until(passed)
            await self.flowing.wait()
            if self.transport.is_closing():
                return
            self.transport.write(chunk)

    async def until(self, when):
        delay = when - self.loop.time()
        if delay > 0:
            await asyncio.sleep(delay)

    def head(self, status, length, fields):
        lines = [f"HTTP/1.1 {status} {REASONS[status]}", "server: far", "x-amz-request-id: 0"]
        lines += [f"{name}: {value}" for name, value in fields.items()]
        if length is not None:
            lines.append(f"content-length: {length}")
        self.transport.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))

    def plain(self, status, body, fields=None):
        self.head(status, len(body), fields or {})
        if body:
            self.transport.write(body)


async def serve(far, port):
    server = await asyncio.get_running_loop().create_server(lambda: Connection(far), "127.0.0.1", port, backlog=512)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await server.serve_forever()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", help="the directory whose folders are buckets")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one, which is printed [0]")
    parser.add_argument("--seed", type=int, default=1, help="of the delays [1]")
    for name, value in vars(Pace()).items():
        parser.add_argument("--" + name.replace("_", "-"), type=float, default=value, help=f"[{value:g}]")
    args = parser.parse_args()
    pace = Pace(**{name: getattr(args, name) for name in vars(Pace())})
    try:
        asyncio.run(serve(Far(args.root, pace, args.seed), args.port))
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
