// SPDX-License-Identifier: Apache-2.0
/* FORWARD: datagrams of strangers, and what a gateway with the right key may have written into one. */
#include "core/cluster/forward.h"
#include "tests/fuzz/input.h"

#define WALL (1700000000 * NS_PER_S)

/* Any bytes as they come; then as the message of a FORWARD, one byte of which is changed. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct forward_guard guard;
	static const uint8_t private_key[KEY_SIZE] = {7};
	struct forward_key key;
	struct forward_sender sender = {.number = 1};
	struct forwarded in = {.source = {.sin6_family = AF_INET6}}, out;
	uint8_t datagram[FORWARD_MAX];
	insist(keys_init(NULL) == 0, "keys");
	forward_key_init(&key, private_key);
	guard = (struct forward_guard){0};
	insist(forward_read(&key, &guard, WALL, NS_PER_S, data, size, &out) != FORWARD_TAKEN,
	       "a stranger's datagram is not taken");
	if (size < 3 || size - 2 > FORWARD_CARRIED_MAX)
		return 0;
	in.length = (uint32_t)(size - 2);
	memcpy(in.message, data + 2, in.length);
	in.proven = (data[0] & 1) != 0;
	size_t length = forward_write(&key, &sender, WALL, &in, datagram);
	size_t at = (size_t)(data[0] << 8 | data[1]) % length;
	datagram[at] ^= 1;
	insist(forward_read(&key, &guard, WALL, NS_PER_S, datagram, length, &out) != FORWARD_TAKEN,
	       "a changed one is not taken");
	datagram[at] ^= 1;
	insist(forward_read(&key, &guard, WALL, NS_PER_S, datagram, length, &out) == FORWARD_TAKEN, "the right one is");
	insist(out.length == in.length && out.proven == in.proven && memcmp(out.message, in.message, in.length) == 0,
	       "and is what was written");
	insist(forward_read(&key, &guard, WALL, NS_PER_S, datagram, length, &out) == FORWARD_REPEATED, "once");
	return 0;
}
