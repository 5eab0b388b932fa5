#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Exchanges messages in lock step over a stream or TCP, as pingpong.c does, with blocking calls or
with epoll (-e).

    b# pingpong.py answer /dev/tbstream0 10240
    a# pingpong.py ask /dev/tbstream0 10240 1000
"""

import argparse
import os
import select
import socket
import sys
import time

WARM_UP = 20


class Stream:
    """A file descriptor that moves whole messages."""

    def __init__(self, target, answering, with_epoll):
        # Without Python's buffers: a message is to leave when it is written.
        if target.startswith("/"):
            self.fd = os.open(target, os.O_RDWR)
        else:
            self.fd = open_tcp(target, answering)
        self.epoll = None
        if with_epoll:
            os.set_blocking(self.fd, False)
            self.epoll = select.epoll()
            self.epoll.register(self.fd, 0)

    def wait(self, what):
        """Waits until the descriptor can be read or written."""
        self.epoll.modify(self.fd, what)
        self.epoll.poll()

    def receive(self, message):
        """Fills a buffer; False at the end of the stream."""
        view = memoryview(message)
        while view:
            try:
                count = os.readv(self.fd, [view])
            except BlockingIOError:
                self.wait(select.EPOLLIN)
                continue
            if count == 0 and len(view) == len(message):
                return False
            if count == 0:
                raise EOFError("the stream ended in the middle of a message")
            view = view[count:]
        return True

    def send(self, message):
        """Writes all of a buffer."""
        view = memoryview(message)
        while view:
            try:
                view = view[os.write(self.fd, view):]
            except BlockingIOError:
                self.wait(select.EPOLLOUT)


def open_tcp(target, listening):
    """The descriptor of one connection."""
    host, port = target.rsplit(":", 1)
    if listening:
        with socket.create_server((host, int(port))) as server:
            connection = server.accept()[0]
    else:
        connection = socket.create_connection((host, int(port)))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection.detach()


def ask(stream, size, rounds):
    """Sends requests, checks the answers, prints how long they took."""
    message = bytearray(i * 31 + i // 4096 & 0xFF for i in range(size))
    answer = bytearray(size)
    times = []
    for number in range(rounds + WARM_UP):
        message[:8] = number.to_bytes(8, "little")
        begin = time.perf_counter_ns()
        stream.send(message)
        if not stream.receive(answer):
            raise EOFError("the other side has gone")
        times.append(time.perf_counter_ns() - begin)
        if answer != message:
            raise ValueError(f"round {number}: a wrong answer")
    times = sorted(times[WARM_UP:])
    at = {name: times[len(times) * part // 100] / 1000 for name, part in [("p50", 50), ("p90", 90), ("p99", 99)]}
    parts = ", ".join(f"{name} {value:.0f} us" for name, value in at.items())
    print(f"{rounds} rounds of {size} bytes: {parts}, max {times[-1] / 1000:.0f} us")


def main():
    parser = argparse.ArgumentParser(description="Exchanges messages in lock step.")
    parser.add_argument("-e", action="store_true", help="with epoll")
    parser.add_argument("role", choices=["answer", "ask"])
    parser.add_argument("target", help="a device or HOST:PORT")
    parser.add_argument("size", type=int)
    parser.add_argument("rounds", type=int, nargs="?", default=1000)
    words = parser.parse_args()
    if words.size < 8 or words.rounds < 1:
        parser.error("at least 8 bytes and 1 round")
    stream = Stream(words.target, words.role == "answer", words.e)
    if words.role == "ask":
        ask(stream, words.size, words.rounds)
        return
    message = bytearray(words.size)
    while stream.receive(message):
        stream.send(message)


if __name__ == "__main__":
    try:
        main()
    except (OSError, EOFError, ValueError) as error:
        sys.exit(f"pingpong.py: {error}")
