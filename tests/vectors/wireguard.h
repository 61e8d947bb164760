// SPDX-License-Identifier: Apache-2.0
/* Written by tests/vectors/wireguard.py; change that instead. Everything but the counter is hexadecimal; the timestamp
 * is that of 2009-02-13 23:31:30 UTC and 2^28 ns. */
#pragma once

static const struct {
	const char *initiator_static, *responder_static, *initiator_ephemeral, *responder_ephemeral, *psk,
		*initiator_public, *responder_public, *timestamp, *initiator_index, *responder_index, *cookie, *nonce,
		*initial_chaining_key, *initial_hash, *initiation, *initiation_mac2, *response, *response_mac2,
		*cookie_reply, *initiator_to_responder, *responder_to_initiator, *plaintext, *data;
	uint64_t counter;
} wireguard_vector = {
	.initiator_static = "8af2c3c8e7176071a41ea9d8c683a87544fe2ef156171d55d012998368c6436b",
	.responder_static = "f907a7967705e15a20f37fb764cb8d1cafa02b155079e326e0ccb23b989ac35e",
	.initiator_ephemeral = "5fdb09691cf59f47c8729c6a74a1cb6fd5bdcf6e113bea9e5c0be31ae2ce20da",
	.responder_ephemeral = "f7c938f3e4b5406ab80138e85f7b505534367c774164ac829fc52c5f15b336f2",
	.psk = "1f063446bc989efeb9fda6cc2abe50c18f41bfd4d45baac14d6bf7a677e8c7b9",
	.initiator_public = "0ba474e93a8d460bf1809df5f08f451f25ed0e99b83c5034e3901d94e534f902",
	.responder_public = "15ace080302899b102241010862d270c2d9249fdb70c4ab353eba6164aa9f345",
	.timestamp = "40000000499602dc10000000",
	.initiator_index = "5a0c0007",
	.responder_index = "312e9f3c",
	.cookie = "ee24228061f2bea46a604f04bca8adec",
	.nonce = "456ed525e1efb004e976c056e8de4b6220efe84a6126f7f2",
	.initial_chaining_key = "60e26daef327efc02ec335e2a025d2d016eb4206f87277f52d38d1988b78cd36",
	.initial_hash = "2211b361081ac566691243db458ad5322d9c6c662293e8b70ee19c65ba079ef3",
	.initiation = "010000005a0c00079a2dbd7bdebec4ed973e5ea558a79e0a2f418d54d1cdfea69d483d4bad87af5792dfb292"
		      "5b0e6042e5ebf3b1347d27819cb25982cf54805f238db0136037bbe068581f3a18b34d12ee2d6b903af6b68d"
		      "5de227281e24ef83d2bc9eeefa9bd03ccce7690df6ae10b958118f19ca9f0c6033d86b86d4a59880878c0877"
		      "00000000000000000000000000000000",
	.initiation_mac2 = "4dfd0fd0f806bee03a498c02a98893cb",
	.response = "02000000312e9f3c5a0c0007fbfae2dfd728e536df200cb8495e11e5a3e0257e1af1f3cab9f8595d9fe57878"
		    "60f6d669a283eb001edd38ad62482fd569e98aeb759b971826039a694ba84836000000000000000000000000"
		    "00000000",
	.response_mac2 = "13400fb7b77221ed0aeb692027612e92",
	.cookie_reply = "030000005a0c0007456ed525e1efb004e976c056e8de4b6220efe84a6126f7f2d35640219ce64d00de5327a1"
			"af2fe3612bda783858d64cb57d2476d92654af37",
	.initiator_to_responder = "bf9f34b5af36349e6f2027c78494e550eb7d07b14850f9f4cfb6f98972920f57",
	.responder_to_initiator = "5b33e9356e7775757a624a8db251373c1656a2b39c45294a1ee0d36c426d069f",
	.plaintext = "76c85fdd2c7a0e40daca72dfa127b19b2a47a39361dc38daa86b56d8020f63c0c45aae9a9c06a20f31464f66"
		     "e06795de387a9f6eab1f3d8259057142bd344b5d32d458035fbcde399829f583fa6ae4c5b97dca147175c7b2"
		     "4de59c3b504e2005",
	.data = "04000000312e9f3cefcdab89674523018a5628329fe7b809cecb376b40ca6392fe70b5f7685dd723bfd8d120"
		"e07a1e4a9966e42689c69a55fe13655cb1c8a6508e560510f5ff1896168ee6c6ba48a2a3244f08cc5e93700d"
		"34ca14fea8c75cb875943aa571af217054f3321b3091fe2310a89a52a9749716ee0ae4820cc5dd81",
	.counter = 0x123456789abcdef,
};
