# SPDX-License-Identifier: Apache-2.0
"""Noise_IKpsk2 against the vectors of cacophony (haskell-cryptography/cacophony, vectors/cacophony.txt)."""

import unittest

from noise_ik import CipherState, Handshake, NoiseError, dh, public_key

PROLOGUE = bytes.fromhex("4a6f686e2047616c74")
PSK = bytes.fromhex("54686973206973206d7920417573747269616e20706572737065637469766521")
INIT_STATIC = bytes.fromhex("e61ef9919cde45dd5f82166404bd08e38bceb5dfdfded0a34c8df7ed542214d1")
INIT_EPHEMERAL = bytes.fromhex("893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a")
RESP_STATIC = bytes.fromhex("4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893")
RESP_PUBLIC = bytes.fromhex("31e0303fd6418d2f8c0e78b91f22e8caed0fbe48656dcf4767e4834f701b8f62")
RESP_EPHEMERAL = bytes.fromhex("bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b")
PAYLOADS = [bytes.fromhex(p) for p in (
    "4c756477696720766f6e204d69736573", "4d757272617920526f746862617264", "462e20412e20486179656b",
    "4361726c204d656e676572", "4a65616e2d426170746973746520536179", "457567656e2042f6686d20766f6e2042617765726b")]
VECTORS = {
    "AESGCM": (
        "81a1af209b6911504c1e852f9960ea39654e7ea98d7eea070de305e967f9cf9cce36372d29e3c5ce7f27efe598f4aad110b2"
        "e587ee8a6f92bc8286f322d33bee",
        "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944a71a182e709ca1196210aba4737eefc297f2"
        "46be69c3bcf091d0aeaca312ffed962c0dc3580548a1866e8da8c1a6079bd930fec481739834f836786f5053aef16dafde42"
        "7e36436dc0507ec38a3e8e2d",
        "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843ed5d0d03055f40ced45e18f4e7826a0127de"
        "35b6a7739c3ab4eb76a5937570",
        "8a2ee7e3ef545e07320b61c62807fb2da40986005134b4f91bdbd4",
        "ff62af78349c1789cec1832e2726f09b883fa7fce1944664b36367",
        "a686dcfb3783c6264e22cad3a11a583d0cc7c2de5c255e40fa7f29afe260be5a42",
        "62a7326dfebbee904d8057a53a7fdee4f450b60d58a304ac1c3b7977c62b5f02657ce7426e",
    ),
    "ChaChaPoly": (
        "ed837c9084f2f0333a7ec60b9bcacd9921394858de8ced118b5966d1147ba390084dab42326c565a309c29317a6079be30aa"
        "1d790d25a517b43287426cb1d36a",
        "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944b6fe0240b839afac809de1630eaf99d8f9b9"
        "41394f0512c0554633bbb021d15176135c0a20e7fdb9a9ed066f22f054b47625b1d5061cb27d6a17f053273db7c25216a5ad"
        "dc506ee321bc0618feb5849d",
        "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f1448088438f627e69fc120006f746b9d420bf4056cf84"
        "81ab32d9e904ffaeeaa56a5290",
        "07fc0034398a5f1010322be193d62f94bebf2948a20b3e15d681fe",
        "2ea5400f5b8a16971c8b67bde75aeb7987d454b1c0beeb2566932d",
        "96eef918ef51639fc0e156da1823c4f71b33fac5af983f5da9384f7da20d86ed91",
        "f02766a56496e1fbf32e05274baebf6d693c8f3e4c6e0dc7ebdc5ac170f15dae433b92f469",
    ),
}


class Cacophony(unittest.TestCase):
    def test_every_message_and_the_hash(self):
        for cipher, (handshake_hash, *ciphertexts) in VECTORS.items():
            with self.subTest(cipher=cipher):
                initiator = Handshake(True, PROLOGUE, INIT_STATIC, RESP_PUBLIC, PSK, cipher)
                responder = Handshake(False, PROLOGUE, RESP_STATIC, None, PSK, cipher)
                first = initiator.write(INIT_EPHEMERAL, PAYLOADS[0])
                self.assertEqual(first.hex(), ciphertexts[0])
                self.assertEqual(responder.read(first), PAYLOADS[0])
                self.assertEqual(responder.remote_static, public_key(INIT_STATIC))
                second = responder.write(RESP_EPHEMERAL, PAYLOADS[1])
                self.assertEqual(second.hex(), ciphertexts[1])
                self.assertEqual(initiator.read(second), PAYLOADS[1])
                self.assertEqual(initiator.h.hex(), handshake_hash)
                self.assertEqual(initiator.split(), responder.split())
                senders = [CipherState(cipher, key) for key in initiator.split()]
                for number in range(2, 6):
                    sealed = senders[number % 2].encrypt(b"", PAYLOADS[number])
                    self.assertEqual(sealed.hex(), ciphertexts[number])


class Failures(unittest.TestCase):
    def test_all_zero_dh_result_is_an_error(self):
        for low_order in (bytes(32), b"\1" + bytes(31)):
            with self.assertRaises(NoiseError):
                dh(INIT_STATIC, low_order)

    def test_truncated_first_message_is_an_error(self):
        whole = Handshake(True, PROLOGUE, INIT_STATIC, RESP_PUBLIC, PSK).write(INIT_EPHEMERAL, b"")
        for length in range(len(whole)):
            with self.assertRaises(NoiseError):
                Handshake(False, PROLOGUE, RESP_STATIC, None, PSK).read(whole[:length])

    def test_another_psk_fails_in_the_second_message_only(self):
        initiator = Handshake(True, PROLOGUE, INIT_STATIC, RESP_PUBLIC, PSK)
        responder = Handshake(False, PROLOGUE, RESP_STATIC, None, bytes(32))
        responder.read(initiator.write(INIT_EPHEMERAL, b""))
        with self.assertRaises(NoiseError):
            initiator.read(responder.write(RESP_EPHEMERAL, b""))


if __name__ == "__main__":
    unittest.main()
