#!/usr/bin/env python3
"""Writes the captures that no tool writes on a little-endian machine; see README.md."""

import struct


def pcap_big_endian(source, target):
    """The same packets in the other byte order."""
    data = open(source, "rb").read()
    out = struct.pack(">IHHiIII", *struct.unpack("<IHHiIII", data[:24]))
    at = 24
    while at < len(data):
        header = struct.unpack("<IIII", data[at : at + 16])
        out += struct.pack(">IIII", *header) + data[at + 16 : at + 16 + header[2]]
        at += 16 + header[2]
    open(target, "wb").write(out)


def sections(source, target):
    """A little-endian section and a big-endian one, with all kinds of packet blocks."""
    data = open(source, "rb").read()
    packets, at = [], 24
    while at < len(data):
        length = struct.unpack("<I", data[at + 8 : at + 12])[0]
        packets.append(data[at + 16 : at + 16 + length])
        at += 16 + length
    pad = lambda value: value + bytes(-len(value) % 4)
    out = b""
    for order, resolution, offset in (("<", 0xA0, 1_000_000_000), (">", 0x0A, -5)):
        pack = lambda form, *values: struct.pack(order + form, *values)
        block = lambda kind, body: pack("II", kind, len(body) + 12) + body + pack("I", len(body) + 12)
        option = lambda code, value: pack("HH", code, len(value)) + pad(value)
        end = pack("HH", 0, 0)
        out += block(0x0A0D0D0A, pack("IHHq", 0x1A2B3C4D, 1, 0, -1))
        # Interface 0 has microseconds and no options, interface 1 has all of them.
        out += block(1, pack("HHI", 1, 0, 50))
        out += block(
            1,
            pack("HHI", 1, 0, 0)
            + option(2, b"wan")
            + option(9, bytes([resolution]))
            + option(14, pack("q", offset))
            + end,
        )
        out += block(0x0BAD, pack("I", 32473) + b"custom  ")  # a custom block
        out += block(0x12345678, b"nobody knows")  # a type that is not assigned
        one, two, three = packets
        ticks = (700_000_000 << 32) + 0x80000001 if order == "<" else 17 * 10**17 * 10 + 1234567890
        captured = lambda p: (len(p), len(p))
        split = (ticks >> 32, ticks & 0xFFFFFFFF)
        out += block(
            6,
            pack("IIIII", 1, *split, *captured(one)) + pad(one) + option(1, b"a comment")
            + option(2, pack("I", 1)) + end,
        )
        # Obsolete: 16-bit interface and drop count.
        micros = 1_600_000_000_123_456
        out += block(
            2,
            pack("HHIIII", 0, 0xFFFF, micros >> 32, micros & 0xFFFFFFFF, len(two), len(two) + 1000)
            + pad(two) + option(2, pack("I", 2)) + end,
        )
        out += block(5, pack("III", 0, micros >> 32, micros & 0xFFFFFFFF))  # statistics
        # A simple packet, which ends at the snaplen of interface 0.
        out += block(3, pack("I", len(three)) + pad(three[:50]))
    open(target, "wb").write(out)


pcap_big_endian("us.pcap", "us-big-endian.pcap")
pcap_big_endian("ns.pcap", "ns-big-endian.pcap")
sections("us.pcap", "sections.pcapng")
