// SPDX-License-Identifier: Apache-2.0
/* Frames that come to a gateway's TUN, and out of its clients'; what wakes a thread. */
#pragma once

#include "tests/harness/unit.h"

static inline void put(struct harness *h, size_t client, uint16_t sequence)
{
	uint8_t packet[1500];
	node_put_packet(&h->gateway.node, packet, harness_echo(h, client, TO_CLIENT, 4, sequence, 1200, packet));
}

/* Takes what came out of a client's TUN: its sequence goes on from `first`. Returns how many. */
static inline unsigned take(struct harness *h, size_t client, unsigned first)
{
	unsigned count = 0;
	size_t length;
	for (const uint8_t *packet; (packet = node_take_packet(&h->clients[client].node, &length)) != NULL; count++)
		cr_assert_eq(load_be16(packet + 26), first + count, "client %zu", client);
	return count;
}

static inline struct worker *owner(struct harness *h, size_t client)
{
	return harness_owner(h, harness_gateway_session(h, client)->id);
}

/* As the kernel would, into the second queue. */
static inline void put_sparse(struct harness *h, size_t client, uint16_t sequence)
{
	uint8_t frame[1500] = {0};
	size_t length = harness_echo(h, client, TO_CLIENT, 4, sequence, 1200, frame + VNET_HEADER_SIZE);
	cr_assert_eq(tun_pair_put(&h->gateway.sparse, frame, VNET_HEADER_SIZE + length), 0);
}

/* As after a sleep that these ended. */
static inline void woken_by(struct event_loop *loop, uint32_t sources)
{
	loop->found = sources;
	loop->fresh = true;
}
