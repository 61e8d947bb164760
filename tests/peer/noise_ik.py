# SPDX-License-Identifier: Apache-2.0
"""Noise_IKpsk2 with BLAKE2b or BLAKE2s, from The Noise Protocol Framework, revision 34. No sockets, no clock.

`Handshake` is one side of one handshake. Ephemeral keys are passed in, so that vectors can be replayed. An object whose
read failed must be thrown away: what must survive a forgery reads with a copy (`fork`).
"""

import copy
import hashlib
import hmac

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

KEY_SIZE = 32
TAG_SIZE = 16
HASHES = {"BLAKE2b": hashlib.blake2b, "BLAKE2s": hashlib.blake2s}


class NoiseError(Exception):
    """A message was truncated, forged or led to an all-zero DH result."""


def public_key(private):
    """The X25519 public key of 32 private bytes."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def dh(private, public):
    """The X25519 function; an all-zero result is an error."""
    try:
        shared = X25519PrivateKey.from_private_bytes(private).exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError as error:
        raise NoiseError("all-zero DH result") from error
    if shared == bytes(KEY_SIZE):
        raise NoiseError("all-zero DH result")
    return shared


def hkdf(hash_function, chaining_key, material, outputs):
    """Noise's HKDF: a list of 2 or 3 outputs as long as the hash."""
    secret = hmac.new(chaining_key, material, hash_function).digest()
    result, last = [], b""
    for number in range(1, outputs + 1):
        last = hmac.new(secret, last + bytes([number]), hash_function).digest()
        result.append(last)
    return result


# Section 12: how each cipher turns the 64-bit counter into a 96-bit nonce.
CIPHERS = {
    "ChaChaPoly": (ChaCha20Poly1305, lambda n: bytes(4) + n.to_bytes(8, "little")),
    "AESGCM": (AESGCM, lambda n: bytes(4) + n.to_bytes(8, "big")),
}


class CipherState:
    """A key and its nonce; without a key it passes data through."""

    def __init__(self, cipher, key=None):
        self._aead, self._nonce = CIPHERS[cipher]
        self.key = key
        self.n = 0

    def encrypt(self, ad, plaintext):
        if self.key is None:
            return plaintext
        sealed = self._aead(self.key).encrypt(self._nonce(self.n), plaintext, ad)
        self.n += 1
        return sealed

    def decrypt(self, ad, sealed):
        if self.key is None:
            return sealed
        try:
            plaintext = self._aead(self.key).decrypt(self._nonce(self.n), sealed, ad)
        except (InvalidTag, ValueError) as error:
            raise NoiseError("tag") from error
        self.n += 1
        return plaintext


class Handshake:
    """One side of Noise_IKpsk2_25519_<cipher>_<hash>.

    The initiator calls write(ephemeral, payload), read(message); the responder read(message), write(ephemeral,
    payload), and may set `psk` in between, once `remote_static` told it who is asking. Then split() gives (initiator's,
    responder's) sending secrets, 32 bytes each.
    """

    def __init__(self, initiator, prologue, static, remote_static=None, psk=bytes(KEY_SIZE), cipher="ChaChaPoly",
                 hash_name="BLAKE2b"):
        name = f"Noise_IKpsk2_25519_{cipher}_{hash_name}".encode()
        self._hash = HASHES[hash_name]
        self.initiator = initiator
        self.static = static
        self.remote_static = remote_static
        self.psk = psk
        self.ephemeral = None
        self.remote_ephemeral = None
        self.trace = {}
        self._cipher = cipher
        self._state = CipherState(cipher)
        size = self._hash().digest_size
        self.h = name.ljust(size, b"\0") if len(name) <= size else self._hash(name).digest()
        self.ck = self.h
        self._mix_hash(prologue)
        self._mix_hash(remote_static if initiator else public_key(static))

    def fork(self):
        """A copy to read a message with that may be forged."""
        return copy.deepcopy(self)

    def _mix_hash(self, data):
        self.h = self._hash(self.h + data).digest()

    def _mix_key(self, material):
        self.ck, key = hkdf(self._hash, self.ck, material, 2)
        self._state = CipherState(self._cipher, key[:KEY_SIZE])

    def _mix_dh(self, token, private, public):
        shared = dh(private, public)
        self.trace[token] = shared
        self._mix_key(shared)

    def _mix_psk(self):
        self.ck, data, key = hkdf(self._hash, self.ck, self.psk, 3)
        self._mix_hash(data)
        self._state = CipherState(self._cipher, key[:KEY_SIZE])

    def _seal(self, plaintext):
        sealed = self._state.encrypt(self.h, plaintext)
        self._mix_hash(sealed)
        return sealed

    def _open(self, sealed):
        plaintext = self._state.decrypt(self.h, sealed)
        self._mix_hash(sealed)
        return plaintext

    def _mix_ephemeral(self, public):
        self._mix_hash(public)
        self._mix_key(public)  # section 9.2: with a PSK, "e" is mixed into the key as well

    def write(self, ephemeral, payload):
        """The message of this side: `-> e, es, s, ss` or `<- e, ee, se, psk`."""
        self.ephemeral = ephemeral
        message = public_key(ephemeral)
        self._mix_ephemeral(message)
        if self.initiator:
            self._mix_dh("es", ephemeral, self.remote_static)
            message += self._seal(public_key(self.static))
            self._mix_dh("ss", self.static, self.remote_static)
        else:
            self._mix_dh("ee", ephemeral, self.remote_ephemeral)
            self._mix_dh("se", ephemeral, self.remote_static)
            self._mix_psk()
        return message + self._seal(payload)

    def read(self, message):
        """The payload of the other side's message."""
        if self.initiator:
            self.remote_ephemeral, rest = message[:KEY_SIZE], message[KEY_SIZE:]
            self._mix_ephemeral(self.remote_ephemeral)
            self._mix_dh("ee", self.ephemeral, self.remote_ephemeral)
            self._mix_dh("se", self.static, self.remote_ephemeral)
            self._mix_psk()
            return self._open(rest)
        self.read_static(message)
        return self.read_payload(message)

    def read_static(self, message):
        """Responder: `e, es, s` of the first message, which yields the initiator's static key."""
        self.remote_ephemeral = message[:KEY_SIZE]
        self._mix_ephemeral(self.remote_ephemeral)
        self._mix_dh("es", self.static, self.remote_ephemeral)
        self.remote_static = self._open(message[KEY_SIZE : 2 * KEY_SIZE + TAG_SIZE])
        return self.remote_static

    def read_payload(self, message):
        """Responder: `ss` and the payload of the first message."""
        self._mix_dh("ss", self.static, self.remote_static)
        return self._open(message[2 * KEY_SIZE + TAG_SIZE :])

    def split(self):
        first, second = hkdf(self._hash, self.ck, b"", 2)
        return first[:KEY_SIZE], second[:KEY_SIZE]
