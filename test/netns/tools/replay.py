"""Sends what a file holds, byte for byte.

    replay.py datagrams FILE ADDRESS PORT   each record as the payload of a UDP datagram to there
    replay.py frames    FILE INTERFACE      each record as an outgoing frame of the interface, past the IP stack
    replay.py packets   FILE INTERFACE MAC  the same of an Ethernet interface, addressed to that MAC
    replay.py offloads  FILE INTERFACE      the same; each record begins with a virtio-net header (10 bytes), which may lie

The file is a sequence of records: length (4 bytes, big-endian), segment size (2 bytes), then the bytes. A segment size
above 0 makes a record of datagrams leave as one superframe (UDP_SEGMENT) that is cut into datagrams of that size.
Prints one line of JSON: records sent, and what the kernel refused, by errno name.
"""

import collections
import errno
import json
import socket
import struct
import sys

BUFFER_BYTES = 4 << 20
SOL_UDP = 17
UDP_SEGMENT = 103
SOL_PACKET = 263
PACKET_VNET_HDR = 15
VNET_HEADER_BYTES = 10


def records(path):
    with open(path, 'rb') as file:
        while header := file.read(6):
            length, segment = struct.unpack('>IH', header)
            yield file.read(length), segment


def send_all(path, send_one):
    refused = collections.Counter()
    sent = 0
    for data, segment in records(path):
        try:
            send_one(data, segment)
            sent += 1
        except OSError as error:
            refused[errno.errorcode.get(error.errno, str(error.errno))] += 1
    print(json.dumps({'sent': sent, 'refused': refused}), flush=True)


def datagrams(path, address, port):
    sock = socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
    target = (address, int(port))

    def send_one(data, segment):
        if segment:
            sock.sendmsg([data], [(SOL_UDP, UDP_SEGMENT, struct.pack('=H', segment))], 0, target)
        else:
            sock.sendto(data, target)

    send_all(path, send_one)


def ether_type(data, at=0):
    return 0x86DD if len(data) > at and data[at] >> 4 == 6 else 0x0800


def packets(path, interface, mac):
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
    target = bytes.fromhex(mac.replace(':', ''))
    send_all(path, lambda data, _segment: sock.sendto(data, (interface, ether_type(data), 0, 0, target)))


def frames(path, interface, header_bytes=0):
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)  # a TUN device has no link header
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
    if header_bytes:
        sock.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)

    def send_one(data, _segment):
        sock.sendto(data, (interface, ether_type(data, header_bytes)))

    send_all(path, send_one)


def offloads(path, interface):
    frames(path, interface, VNET_HEADER_BYTES)


globals()[sys.argv[1]](*sys.argv[2:])
