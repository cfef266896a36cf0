"""Handshakes by Python's ssl module (OpenSSL), at a rate, and what became of each from the client's side.

load.py ADDRESS RATE SECONDS: a line for each connection that was established, `server_port client_port outcome version`.
Every twentieth client does not trust the server, every other twentieth is too old for it.
"""

import queue
import socket
import ssl
import sys
import threading
import time

ANY, ONLY_TLS13 = 443, 8443
WORKERS = 4


def context(oldest, newest, trusts):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version, made.maximum_version = oldest, newest
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE if trusts else ssl.CERT_REQUIRED
    return made


TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
KINDS = {
    "tls13": (ANY, context(TLS13, TLS13, True)),
    "tls12": (ANY, context(TLS12, TLS12, True)),
    "distrust": (ANY, context(TLS12, TLS12, False)),
    "old": (ONLY_TLS13, context(TLS12, TLS12, True)),
    "other": (ONLY_TLS13, context(TLS13, TLS13, True)),
}


def kind(number):
    return {3: "distrust", 13: "old"}.get(number % 20) or ("tls12", "tls13", "other")[number % 3]


def drain(connection):
    """Ends a connection without a reset, which closing it makes of what was not read: an alert that a link that is down has
    lost would not be sent again, and nobody but this client would know why the handshake failed."""
    try:
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096):
            pass
    except OSError:
        pass


def connect(address, name):
    port, made = KINDS[name]
    try:
        plain = socket.create_connection((address, port), timeout=20)
    except OSError:
        return None
    mine, open_still = plain.getsockname()[1], plain.dup()
    try:
        with made.wrap_socket(plain, server_hostname="soak.example") as secure:
            version = secure.version()
            secure.sendall(b"GET / HTTP/1.0\r\n\r\n")
            while secure.recv(4096):
                pass
            return port, mine, "completed", version
    except ssl.SSLError:
        drain(open_still)
        return port, mine, "refused", "-"
    except OSError as error:
        return port, mine, "broken", type(error).__name__
    finally:
        plain.close()
        open_still.close()


def main():
    address, rate, seconds = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])
    wanted, write = queue.Queue(maxsize=4 * WORKERS), threading.Lock()

    def work():
        while (number := wanted.get()) is not None:
            done = connect(address, kind(number))
            if done:
                with write:
                    print(*done, flush=True)

    workers = [threading.Thread(target=work) for _ in range(WORKERS)]
    for worker in workers:
        worker.start()
    start, number = time.monotonic(), 0
    while (now := time.monotonic() - start) < seconds:
        if now * rate < number:
            time.sleep(number / rate - now)
        wanted.put(number)
        number += 1
    for _ in workers:
        wanted.put(None)
    for worker in workers:
        worker.join()


main()
