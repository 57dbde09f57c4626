"""Checked content over TCP, both ways at once on each connection.

    tcp_transfer.py listen|connect ADDRESS PORT STREAMS BYTES SEED

Each end sends BYTES of its own content on every stream, then half-closes, and reads the other end's to its end. It
prints one line of JSON: for each stream the SHA-256 of what it sent and of what it received, and their lengths.
Equal digests at both ends mean that no byte was lost, added, changed or moved.
"""

import hashlib
import json
import random
import socket
import struct
import sys
import threading

BLOCK_BYTES = 1 << 18
STALL_SECONDS = 30


def chunks(seed, total):
    """Pieces of 1 byte to 256 KiB, so that segments, pushes and superframes of all sizes occur. No two are alike at any
    alignment: each is another rotation of one random block with its number in front."""
    rng = random.Random(seed)
    block = rng.randbytes(BLOCK_BYTES)
    number = 0
    while total > 0:
        size = min(total, rng.choice((rng.randint(1, 100), rng.randint(1, 5000), BLOCK_BYTES, BLOCK_BYTES, BLOCK_BYTES)))
        turn = (number * 4093) % BLOCK_BYTES
        piece = (struct.pack('>Q', number) + block[turn:] + block[:turn])[:size]
        yield piece
        total -= len(piece)
        number += 1


def send(sock, seed, total, result):
    digest = hashlib.sha256()
    for piece in chunks(seed, total):
        sock.sendall(piece)
        digest.update(piece)
    sock.shutdown(socket.SHUT_WR)
    result['sent'] = digest.hexdigest()
    result['sentBytes'] = total


def receive(sock, result):
    digest = hashlib.sha256()
    total = 0
    while True:
        piece = sock.recv(BLOCK_BYTES)
        if not piece:
            break
        digest.update(piece)
        total += len(piece)
    result['received'] = digest.hexdigest()
    result['receivedBytes'] = total


def guarded(work, failures, *arguments):
    try:
        work(*arguments)
    except OSError as error:
        failures.append(f'{work.__name__}: {error}')


def exchange(streams, seed, total):
    """Runs all streams to their end. streams: sockets by number."""
    results = [{} for _ in streams]
    failures = []
    threads = []
    for number, sock in enumerate(streams):
        sock.settimeout(STALL_SECONDS)
        threads.append(threading.Thread(target=guarded, args=(send, failures, sock, f'{seed}/{number}', total, results[number])))
        threads.append(threading.Thread(target=guarded, args=(receive, failures, sock, results[number])))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        sys.exit('\n'.join(failures))
    return results


def accept_all(address, port, count):
    family = socket.AF_INET6 if ':' in address else socket.AF_INET
    listener = socket.create_server((address, port), family=family, backlog=count)
    print('listening', flush=True)
    streams = [None] * count
    for _ in range(count):
        sock, _ = listener.accept()
        streams[struct.unpack('>I', sock.recv(4, socket.MSG_WAITALL))[0]] = sock
    return streams


def connect_all(address, port, count):
    streams = []
    for number in range(count):
        sock = socket.create_connection((address, port), timeout=STALL_SECONDS)
        sock.sendall(struct.pack('>I', number))
        streams.append(sock)
    return streams


def main(role, address, port, count, total, seed):
    open_all = accept_all if role == 'listen' else connect_all
    streams = open_all(address, int(port), int(count))
    print(json.dumps(exchange(streams, f'{role}/{seed}', int(total))), flush=True)


main(*sys.argv[1:])
