"""A proxy in front of one leaf: every answer waits, by seeded delays, or is 503. Its mode is the word in a file, read anew for each request.

    proxy.py LISTEN_HOST PORT LEAF_PORT MODE_FILE SEED MEDIAN_MS
"""

import asyncio
import math
import pathlib
import random
import sys

# Spread of the delays: p99 is about 3.2 times the median.
SIGMA = 0.5
SLOWER = 10
BUSY = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


async def serve(listen, port, leaf_port, mode_file, seed, median_ms):
    draws = random.Random(seed)

    async def connection(reader, writer):
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", leaf_port)
        # Whether the next bytes from the leaf begin an answer.
        begins = False

        async def forth():
            nonlocal begins
            while data := await reader.read(1 << 16):
                if mode_file.read_text() == "busy":
                    writer.write(BUSY)
                    await writer.drain()
                    return
                begins = True
                there_writer.write(data)
                await there_writer.drain()

        async def back():
            nonlocal begins
            while data := await there_reader.read(1 << 16):
                if begins:
                    begins = False
                    slower = SLOWER if mode_file.read_text() == "slow" else 1
                    await asyncio.sleep(median_ms * slower * math.exp(draws.gauss(0, SIGMA)) / 1000)
                writer.write(data)
                await writer.drain()

        tasks = [asyncio.create_task(forth()), asyncio.create_task(back())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        # A root that gives up closes its connection: the leaf has to hear of it.
        for end in (writer, there_writer):
            end.close()

    server = await asyncio.start_server(connection, listen, port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    host, port, leaf_port, mode, seed, median = sys.argv[1:]
    asyncio.run(serve(host, int(port), int(leaf_port), pathlib.Path(mode), int(seed), float(median)))
