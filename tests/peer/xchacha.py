# SPDX-License-Identifier: Apache-2.0
"""XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03) on the ChaCha20-Poly1305 of python3-cryptography."""

import struct

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

KEY_SIZE, NONCE_SIZE, TAG_SIZE = 32, 24, 16

COLUMNS = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15))
DIAGONALS = ((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))


def _rotate(word, bits):
    return (word << bits | word >> (32 - bits)) & 0xFFFFFFFF


def _quarter_round(state, a, b, c, d):
    for first, second, third, bits in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
        state[first] = (state[first] + state[second]) & 0xFFFFFFFF
        state[third] = _rotate(state[third] ^ state[first], bits)


def hchacha20(key, nonce):
    """A key from a key and 16 bytes: section 2.2."""
    state = list(struct.unpack("<16I", b"expand 32-byte k" + key + nonce))
    for _ in range(10):
        for indexes in COLUMNS + DIAGONALS:
            _quarter_round(state, *indexes)
    return struct.pack("<8I", *state[:4], *state[12:])


def _parts(key, nonce):
    return ChaCha20Poly1305(hchacha20(key, nonce[:16])), bytes(4) + nonce[16:]


def seal(key, nonce, plaintext, associated):
    aead, rest = _parts(key, nonce)
    return aead.encrypt(rest, plaintext, associated)


def unseal(key, nonce, sealed, associated):
    """The plaintext; cryptography's InvalidTag if it is forged."""
    aead, rest = _parts(key, nonce)
    return aead.decrypt(rest, sealed, associated)
