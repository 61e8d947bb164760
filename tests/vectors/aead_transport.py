#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes sealed transport messages as core/protocol/PROTOCOL.md defines them, computed by python3-cryptography (OpenSSL), which
shares no code with the back ends: tests/vectors/aead_transport.py | clang-format > tests/vectors/aead_transport.h
"""
import hashlib

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

SUITES = (("AEAD_AES_256_GCM", AESGCM), ("AEAD_CHACHA20_POLY1305", ChaCha20Poly1305))
CASES = ((0, 0), (1, 1), (15, 255), (16, 256), (17, 0x12345678), (64, 0x7FFFFFFF), (65, 0x80000000), (100, 0xFFFFFFFF))


def some_bytes(label, size):
    return hashlib.shake_256(label.encode()).digest(size)


def hex_lines(data):
    text = data.hex()
    lines = [text[i : i + 88] for i in range(0, len(text), 88)] or [""]
    return " ".join(f'"{line}"' for line in lines)


print(
    """// SPDX-License-Identifier: Apache-2.0
/* Written by tests/vectors/aead_transport.py; change that instead. Everything but suite and counter is hexadecimal. */
#pragma once

static const struct {
	enum aead_suite suite;
	uint32_t counter;
	const char *key, *iv, *header, *plaintext, *ciphertext, *tag;
} aead_transport[] = {"""
)
for suite, cipher in SUITES:
    for length, counter in CASES:
        name = f"{suite} {length} "
        key, iv = some_bytes(name + "key", 32), some_bytes(name + "iv", 12)
        header, plaintext = some_bytes(name + "header", 9), some_bytes(name + "plaintext", length)
        nonce = iv[:8] + (int.from_bytes(iv[8:], "big") ^ counter).to_bytes(4, "big")
        sealed = cipher(key).encrypt(nonce, plaintext, header)
        fields = (key, iv, header, plaintext, sealed[:-16], sealed[-16:])
        print(f"{{{suite}, 0x{counter:08x}, " + ", ".join(map(hex_lines, fields)) + "},")
print("};")
