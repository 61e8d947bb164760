// SPDX-License-Identifier: Apache-2.0
/* What is left when a gateway's threads stand still: nothing that a worker has got is to be lost with its process. With
 * threads: tests/stress/freeze.c. */
#include "workers/freeze.h"

#include "tests/harness/unit.h"

static struct harness *h;
static uint8_t frame[200];
static size_t length; /* of the packet in the frame */

static void start(bool reader)
{
	h = harness_new(&(struct harness_options){.clients = 1, .reader = reader, .no_offloads = true});
	harness_connect(h, 0);
	harness_pump(h);
	memset(frame, 0, sizeof frame);
	length = harness_echo(h, 0, TO_CLIENT, 4, 1, 50, frame + VNET_HEADER_SIZE);
}

static bool settle(void)
{
	struct worker *worker = h->gateway.node.worker;
	rcu_offline();
	bool frozen = freeze(NULL, 0, &worker, 1, &clock_system, NS_PER_S);
	rcu_online();
	return frozen;
}

/* Whether the client gets the packet, though the gateway's threads do nothing more. */
static bool arrives(void)
{
	size_t arrived;
	h->gateway.held = ~0u;
	harness_pump(h);
	h->gateway.held = 0;
	return node_take_packet(&h->clients[0].node, &arrived) != NULL && arrived == length;
}

Test(freeze, what_stands_behind_a_full_socket_goes_when_that_has_room)
{
	start(true);
	cr_assert_eq(tun_pair_put(&h->gateway.node.tun, frame, VNET_HEADER_SIZE + length), 0);
	cr_assert_neq(tun_reader_turn(h->gateway.reader), 0);
	h->gateway.node.worker->send.blocked = true; /* at the last attempt */
	cr_assert(settle());
	cr_assert(arrives());
	finish(h);
}

/* It waits there for what came before it in the queue of sparse flows. */
Test(freeze, a_batch_that_was_read_goes_too)
{
	start(false);
	struct tun_batch *batch = &h->gateway.node.worker->batch;
	memcpy(batch->memory, frame, VNET_HEADER_SIZE + length);
	batch->frames[0].at = 0;
	batch->frames[0].length = (uint32_t)(VNET_HEADER_SIZE + length);
	batch->next = 0;
	batch->count = 1;
	cr_assert(settle());
	cr_assert_eq(batch->next, batch->count);
	cr_assert(arrives());
	finish(h);
}

/* As long as it may take, and not for ever. */
Test(freeze, a_socket_that_stays_full_is_left)
{
	start(false);
	struct worker *worker = h->gateway.node.worker;
	for (unsigned i = 0; i < 100000 && !worker->send.blocked; i++) {
		(void)tun_pair_put(&h->gateway.node.tun, frame, VNET_HEADER_SIZE + length);
		(void)worker_turn(worker);
	}
	cr_assert(worker->send.blocked);
	cr_assert(settle());
	cr_assert(worker->send.blocked);
	finish(h);
}
