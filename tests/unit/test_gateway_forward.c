// SPDX-License-Identifier: Apache-2.0
/* A HELLO that came to the wrong gateway, whole: it leaves as FORWARD, and is answered where it belongs. */
#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/gateway/cluster_link.h"
#include "tests/harness/unit.h"

enum { BLOCK_OF_CLIENT = 1 };

static struct forwarded taken;
static unsigned count;

static void take(void *context, const struct forwarded *forwarded)
{
	(void)context;
	taken = *forwarded;
	count++;
}

/* A link on the loopback of a gateway with this key, at any port. */
static void open_link(struct cluster_link *link, const struct harness *h)
{
	static struct config_endpoint own;
	struct error error = {0};
	own = (struct config_endpoint){.host = "127.0.0.1", .port = 1};
	const struct cluster_link_params params = {.address = &own,
						   .private_key = h->gateway.identity.keys.private_key,
						   .clock = &h->clock.base,
						   .take = take};
	for (own.port = 20000 + (uint16_t)(getpid() % 20000); own.port < 60000; own.port++) {
		if (cluster_link_open(link, &params, &error) == 0)
			return;
	}
	cr_assert(false, "%s", error.text);
}

static struct sockaddr_in6 address_of(const struct cluster_link *link)
{
	struct sockaddr_in6 address;
	socklen_t length = sizeof address;
	cr_assert_eq(getsockname(link->forwarder.fd, (struct sockaddr *)&address, &length), 0);
	return address;
}

static void owned_by(struct cluster_link *link, unsigned block, struct sockaddr_in6 owner)
{
	struct sockaddr_in6 of[BLOCK_COUNT] = {0};
	of[block] = owner;
	cr_assert_eq(forwarder_set_owners(&link->forwarder, of), 0);
}

/* A gateway in a cluster that owns nothing yet, with a client of block 1. */
static struct harness *start(void)
{
	count = 0;
	return START(.block_peers = 16, .fixed = {"10.8.0.5"});
}

/* On the handshake thread, as the control thread's inbox message. */
static void hand_over(struct harness *h, const struct forwarded *forwarded)
{
	struct inbox_message *message = calloc(1, sizeof *message);
	cr_assert_not_null(message);
	message->kind = INBOX_FORWARDED;
	message->forwarded.from = (struct endpoint){.remote = forwarded->source, .local = forwarded->local};
	message->forwarded.proven = forwarded->proven;
	message->forwarded.length = forwarded->length;
	memcpy(message->forwarded.message, forwarded->message, forwarded->length);
	inbox_post(&h->gateway.handshakes[0].handshaker->inbox, message);
	harness_pump(h);
}

static void own(struct harness *h, unsigned block)
{
	struct block_set set = {0};
	block_set_add(&set, block);
	cr_assert_eq(fence_own(&h->gateway.fence, &set, h->clock.monotonic + 60 * NS_PER_S, h->clock.monotonic), 1);
}

/* A client's first HELLO comes to `here`, which forwards it to `there`, the owner of the block. It is in `taken`. */
static void forward_hello(struct harness *h, struct cluster_link *here, struct cluster_link *there)
{
	open_link(here, h);
	open_link(there, h);
	owned_by(here, BLOCK_OF_CLIENT, address_of(there));
	h->gateway.common.forwarder = &here->forwarder;
	harness_connect(h, 0);
	harness_advance(h, WORKER_TICK_NS);
	cluster_link_poll(there);
	cr_assert_eq(count, 1);
}

/* The gateway plays both: it forwards while the block is not its own, and takes it once it is. */
Test(gateway_forward, a_hello_goes_to_the_owner_who_answers_it)
{
	struct harness *h = start();
	struct cluster_link here, there;
	forward_hello(h, &here, &there);
	cr_assert_eq(gateway_count(h, STATS_forwards_sent), 1);
	cr_assert_eq(gateway_drops(h, DROP_BLOCK), 0);
	cr_assert_eq(gateway_count(h, STATS_tx_cookie), 0, "the answer is the owner's");
	cr_assert(taken.length == WIRE_HELLO_SIZE && !taken.proven);
	cr_assert(memcmp(&taken.source, &h->clients[0].node.link.address, sizeof taken.source) == 0);

	own(h, BLOCK_OF_CLIENT);
	hand_over(h, &taken);
	cr_assert_eq(gateway_count(h, STATS_forwards_taken), 1);
	cr_assert_eq(gateway_count(h, STATS_tx_cookie), 1, "its first one needs one, and the client gets it");
	h->gateway.common.forwarder = NULL;
	cr_assert(harness_wait(h, 0, CLIENT_UP, 3 * NS_PER_S));
	cr_assert(pings(h));
	cluster_link_close(&here);
	cluster_link_close(&there);
	finish(h);
}

Test(gateway_forward, what_was_forwarded_is_not_sent_on)
{
	struct harness *h = start();
	struct cluster_link here, there;
	forward_hello(h, &here, &there);
	hand_over(h, &taken); /* to one that does not own the block either */
	cr_assert_eq(gateway_count(h, STATS_forwards_sent), 1, "one hop");
	cr_assert_eq(gateway_drops(h, DROP_BLOCK), 1);
	cluster_link_poll(&there);
	cr_assert_eq(count, 1);
	cluster_link_close(&here);
	cluster_link_close(&there);
	finish(h);
}

Test(gateway_forward, without_an_owner_it_is_dropped)
{
	struct harness *h = start();
	struct cluster_link here;
	open_link(&here, h);
	h->gateway.common.forwarder = &here.forwarder;
	harness_connect(h, 0);
	harness_advance(h, WORKER_TICK_NS);
	cr_assert_eq(gateway_count(h, STATS_forwards_sent), 0);
	cr_assert_eq(gateway_drops(h, DROP_BLOCK), 1);
	owned_by(&here, 2, address_of(&here));
	harness_advance(h, 2 * NS_PER_S);
	cr_assert_eq(gateway_count(h, STATS_forwards_sent), 0, "another block's");
	cr_assert_gt(gateway_drops(h, DROP_BLOCK), 1);
	cluster_link_close(&here);
	finish(h);
}

Test(gateway_forward, what_carries_no_handshake_is_dropped)
{
	struct harness *h = start();
	struct forwarded wrong = {.source = h->clients[0].node.link.address, .length = 1};
	own(h, BLOCK_OF_CLIENT);
	hand_over(h, &wrong); /* a byte of zero: WireGuard's */
	wrong.message[0] = 0x11;
	hand_over(h, &wrong); /* a HELLO of one byte */
	wrong.length = WIRE_HELLO_SIZE;
	hand_over(h, &wrong); /* whose mac1 is wrong */
	wrong.message[0] = 0x14;
	wrong.length = 40;
	hand_over(h, &wrong); /* DATA */
	cr_assert_eq(gateway_count(h, STATS_forwards_taken), 4);
	cr_assert_eq(gateway_drops(h, DROP_MAC1), 1);
	cr_assert_eq(gateway_count(h, STATS_tx_cookie) + gateway_count(h, STATS_tx_reset), 0);
	cr_assert_null(harness_pending_session(h, 0));
	finish(h);
}

/* Datagrams of a stranger on the link, and recordings. */
Test(gateway_forward, the_link_takes_nothing_of_strangers_and_nothing_twice)
{
	struct harness *h = start();
	struct cluster_link there;
	struct forward_sender sender;
	struct forwarded hello = {.source = h->clients[0].node.link.address, .length = WIRE_HELLO_SIZE};
	uint8_t datagram[FORWARD_MAX + 1] = {0};
	open_link(&there, h);
	struct sockaddr_in6 to = address_of(&there);
	int fd = socket(AF_INET6, SOCK_DGRAM, 0);
	cr_assert(fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0);
	forward_sender_init(&sender);
	size_t length = forward_write(there.key, &sender, h->clock.wall, &hello, datagram);
	cr_assert_eq(send(fd, datagram, length, 0), (ssize_t)length);
	cr_assert_eq(send(fd, datagram, length, 0), (ssize_t)length);
	cr_assert_eq(send(fd, datagram, length - 1, 0), (ssize_t)length - 1);
	cr_assert_eq(send(fd, datagram, length + 1, 0), (ssize_t)length + 1);
	cr_assert_eq(send(fd, datagram, 0, 0), 0);
	length = forward_write(there.key, &sender, h->clock.wall + 11 * NS_PER_S, &hello, datagram);
	cr_assert_eq(send(fd, datagram, length, 0), (ssize_t)length);
	cluster_link_poll(&there);
	cr_assert_eq(count, 1);
	cr_assert_eq(there.verdicts[FORWARD_TAKEN], 1);
	cr_assert_eq(there.verdicts[FORWARD_REPEATED], 1);
	cr_assert_eq(there.verdicts[FORWARD_FORGED], 1, "one byte short");
	cr_assert_eq(there.verdicts[FORWARD_MALFORMED], 2);
	cr_assert_eq(there.verdicts[FORWARD_LATE], 1);
	close(fd);
	cluster_link_close(&there);
	finish(h);
}
