# SPDX-License-Identifier: BSD-2-Clause
"""Bytes over TCP, from the client's stack to the server's."""
import contextlib
import socket
import threading


def transfer(lab, address, text):
    with lab.server.inside():
        listener = socket.create_server(("::", 8000), family=socket.AF_INET6,
                                        dualstack_ipv6=True)
    with lab.client.inside():
        out = socket.create_connection((address, 8000), timeout=20)
    into = listener.accept()[0]
    into.settimeout(20)

    def send():
        with contextlib.suppress(OSError):
            out.sendall(text)
            out.shutdown(socket.SHUT_WR)
    sender = threading.Thread(target=send)
    sender.start()
    got = bytearray()
    while chunk := into.recv(65536):
        got += chunk
    sender.join()
    for one in (out, into, listener):
        one.close()
    return got
