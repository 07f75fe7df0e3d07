"""The script of the write-ups: `show stat` each five seconds, and a line for ExaBGP."""

import socket
import sys
import time

SOCKET, VIP, AS_PATH = sys.argv[1:4]


def serves() -> bool:
    """Ask HAProxy whether a server of its backend is up; no answer in 2 s counts as no."""
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(2)
            client.connect(SOCKET)
            client.sendall(b"show stat\n")
            text = b""
            while data := client.recv(65536):
                text += data
    except OSError:
        return False
    rows = [line.split(",") for line in text.decode().splitlines() if line.startswith("web,web")]
    return any(row[17].startswith("UP") for row in rows)


announced = False
while True:
    if serves() != announced:
        announced = not announced
        action = "announce" if announced else "withdraw"
        path = f" as-path [ {AS_PATH} ]" if announced else ""
        print(f"{action} route {VIP}/32 next-hop self{path}", flush=True)
    time.sleep(5)
