// SPDX-License-Identifier: Apache-2.0
/* The plaintexts of the handshake, as a malicious peer with a right key may write them. */
#include "core/protocol/wire.h"
#include "tests/fuzz/input.h"

static bool same(const struct wire_welcome *a, const struct wire_welcome *b)
{
	uint8_t one[WIRE_WELCOME_PAYLOAD_MAX], other[WIRE_WELCOME_PAYLOAD_MAX];
	size_t length = wire_welcome_encode(one, a);
	return length != 0 && length == wire_welcome_encode(other, b) && memcmp(one, other, length) == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wire_welcome welcome, again;
	uint8_t payload[WIRE_WELCOME_PAYLOAD_MAX];
	if (size <= sizeof payload && wire_welcome_decode(&welcome, data, size)) {
		insist(welcome.session_id != 0 && welcome.epoch != 0, "what decodes is in range");
		size_t length = wire_welcome_encode(payload, &welcome);
		insist(length != 0 && length <= size, "what decodes can be encoded");
		insist(wire_welcome_decode(&again, payload, length) && same(&welcome, &again),
		       "and decodes to the same");
	}
	if (size >= WIRE_HELLO_PAYLOAD_SIZE) {
		struct wire_hello hello;
		uint8_t plain[WIRE_HELLO_PAYLOAD_SIZE];
		wire_hello_decode(&hello, data);
		wire_hello_encode(plain, &hello);
	}
	return 0;
}
