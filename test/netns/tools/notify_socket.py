"""Stands for the service manager: tells every datagram that arrives at a Unix socket, one line of JSON each.

    notify_socket.py PATH

Says 'listening' first; runs until killed.
"""

import json
import socket
import sys


def main(path):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(path)
    print('listening', flush=True)
    while True:
        print(json.dumps(sock.recv(65536).decode()), flush=True)


main(*sys.argv[1:])
