// SPDX-License-Identifier: Apache-2.0
/* Handshake threads and the worker do not wait for each other: what arrives late or in another order undoes nothing,
 * and no packet meets a worker that has its keys but did not look at them. */
#include "tests/unit/hello_by_hand.h"
#include "workers/intake.h"
#include "workers/uplink.h"

TestSuite(handshake_order, .timeout = 60);

static struct inbox *inbox_of(struct harness *h)
{
	return h->gateway.inboxes[0];
}

/* The worker is held while a HELLO is answered: what it would have got is ours. */
static struct inbox_message *answer(struct harness *h, struct by_hand *by, uint32_t session_id)
{
	h->gateway.held = 1;
	send_hello(h, by, 0, session_id);
	harness_pump(h);
	h->gateway.held = 0;
	struct inbox_message *message = inbox_take(inbox_of(h));
	cr_assert(message != NULL && inbox_empty(inbox_of(h)), "answered by one message");
	cr_assert_eq(message->kind, INBOX_INSTALL);
	read_welcome(by, message);
	return message;
}

static void post(struct harness *h, struct inbox_message *message)
{
	inbox_post(inbox_of(h), message);
	harness_pump(h);
}

static void acknowledge(struct by_hand *by)
{
	send_ack(by);
	harness_pump(by->h);
}

static uint64_t late(struct harness *h)
{
	return gateway_count(h, STATS_handshakes_late);
}

static struct session *active(struct harness *h)
{
	return harness_gateway_session(h, 0);
}

/* --- two handshake threads ---------------------------------------------------------------------------------------- */

Test(handshake_order, of_two_rekeys_the_later_one_stays)
{
	struct harness *h = START_UP(0);
	struct by_hand first, second;
	struct session *session = active(h);
	struct inbox_message *one = answer(h, &first, session->id), *other = answer(h, &second, session->id);
	cr_assert_gt(other->install.order, one->install.order);
	struct transport_key *key = other->install.key;
	post(h, other);
	cr_assert_eq(session->next, key);
	post(h, one);
	cr_assert_eq(session->next, key, "the earlier one undoes nothing");
	cr_assert_eq(late(h), 1);
	cr_assert_eq(gateway_count(h, STATS_tx_welcome), 2, "and its WELCOME is not sent");
	acknowledge(&first);
	cr_assert_eq(node_drops(&h->gateway.node, DROP_FORGED), 1);
	acknowledge(&second);
	cr_assert_eq(session->current, key);
	forget(&first), forget(&second);
	finish(h);
}

Test(handshake_order, keys_that_come_before_their_session_are_late)
{
	struct harness *h = START(0);
	struct by_hand first, second;
	struct inbox_message *one = answer(h, &first, 0), *other = answer(h, &second, 0);
	cr_assert_not_null(one->install.made);
	cr_assert(other->install.made == NULL && other->session_id == one->session_id);
	post(h, other);
	cr_assert_eq(late(h), 1);
	post(h, one);
	cr_assert_eq(late(h), 1);
	acknowledge(&first);
	cr_assert_eq(active(h)->id, first.session.id);
	forget(&first), forget(&second);
	finish(h);
}

Test(handshake_order, of_three_for_a_new_session_the_latest_stays)
{
	struct harness *h = START_UP(0);
	struct by_hand by[3];
	struct inbox_message *messages[3];
	for (size_t i = 0; i < 3; i++)
		messages[i] = answer(h, &by[i], 0);
	post(h, messages[0]);
	post(h, messages[2]);
	post(h, messages[1]);
	cr_assert_eq(late(h), 1);
	acknowledge(&by[2]);
	cr_assert_eq(active(h)->id, by[2].session.id);
	for (size_t i = 0; i < 3; i++)
		forget(&by[i]);
	finish(h);
}

/* HELLO for a new session, then one for a rekey: the second cancels the first, which comes last. */
Test(handshake_order, a_new_session_does_not_undo_the_rekey_after_it)
{
	struct harness *h = START_UP(0);
	struct by_hand first, second;
	struct session *session = active(h);
	struct inbox_message *one = answer(h, &first, 0), *other = answer(h, &second, session->id);
	cr_assert_eq(other->install.cancels, one->session_id);
	post(h, other);
	cr_assert_not_null(session->next);
	post(h, one);
	cr_assert_not_null(session->next, "its WELCOME is on the way");
	cr_assert_null(harness_pending_session(h, 0));
	cr_assert_eq(late(h), 1);
	check(h);
	acknowledge(&second);
	cr_assert_eq(session->current->epoch, 2);
	acknowledge(&first);
	cr_assert_eq(active(h), session);
	forget(&first), forget(&second);
	finish(h);
}

Test(handshake_order, a_rekey_does_not_come_back_beside_the_new_session_after_it)
{
	struct harness *h = START_UP(0);
	struct by_hand first, second;
	struct session *session = active(h);
	struct inbox_message *one = answer(h, &first, session->id), *other = answer(h, &second, 0);
	post(h, other);
	cr_assert_not_null(harness_pending_session(h, 0));
	post(h, one);
	cr_assert_null(session->next);
	cr_assert_eq(late(h), 1);
	check(h);
	acknowledge(&second);
	cr_assert_eq(active(h)->id, second.session.id);
	forget(&first), forget(&second);
	finish(h);
}

/* The same with real threads' queues: the thread that got the first HELLO comes to it later. */
Test(handshake_order, the_earlier_hello_is_stale_at_a_slower_thread)
{
	struct harness *h = START(.handshakers = 2);
	struct by_hand first, second;
	write_hello(h, &first, 0, 0, NULL);
	do
		write_hello(h, &second, 0, 0, NULL);
	while (wire_magic(second.hello) % 2 == wire_magic(first.hello) % 2);
	h->gateway.held = 2u << wire_magic(first.hello) % 2;
	impairment_forge(&h->gateway.node, &h->clients[0].node, first.hello, sizeof first.hello);
	impairment_forge(&h->gateway.node, &h->clients[0].node, second.hello, sizeof second.hello);
	harness_pump(h);
	cr_assert_eq(gateway_count(h, STATS_tx_welcome), 1);
	const struct transport_key *key = harness_pending_session(h, 0)->next;
	h->gateway.held = 0;
	harness_pump(h);
	cr_assert_eq(harness_pending_session(h, 0)->next, key);
	cr_assert_eq(gateway_count(h, STATS_tx_welcome), 1);
	cr_assert_eq(node_drops(&h->gateway.node, DROP_STALE), 1);
	cr_assert_eq(gateway_count(h, STATS_tx_cookie), 1);
	finish(h);
}

/* --- too late ----------------------------------------------------------------------------------------------------- */

Test(handshake_order, keys_for_a_session_that_ended_are_dropped)
{
	struct harness *h = START_UP(0);
	struct by_hand by;
	struct inbox_message *message = answer(h, &by, active(h)->id);
	harness_stop_client(h, 0, true);
	harness_pump(h);
	cr_assert_null(active(h));
	post(h, message);
	cr_assert_eq(late(h), 1);
	cr_assert_eq(gateway_count(h, STATS_tx_welcome), 1);
	harness_start_client(h, 0);
	forget(&by);
	finish(h);
}

/* Wherever its END is among the messages, nothing of a removed peer stays. */
Test(handshake_order, keys_of_a_removed_peer_are_dropped)
{
	for (unsigned order = 0; order < 3; order++) {
		struct harness *h = START(0);
		struct by_hand by;
		struct inbox_message *message = answer(h, &by, 0);
		if (order == 0)
			inbox_post(inbox_of(h), message);
		cr_assert(harness_remove_peer(h, 0));
		if (order == 2)
			free(inbox_take(inbox_of(h)));
		harness_pump(h);
		if (order != 0)
			post(h, message);
		cr_assert_eq(late(h), 1);
		cr_assert_eq(gateway_count(h, STATS_tx_welcome), 0);
		cr_assert_eq(h->gateway.registry.pool.used, 0);
		cr_assert_eq(harness_gateway_worker(h, 0)->session_count, 0);
		cr_assert_eq(harness_add_peer(h, 0), 0);
		h->clock.wall += NS_PER_S;
		cr_assert(harness_up(h) && pings(h));
		forget(&by);
		finish(h);
	}
}

Test(handshake_order, new_keys_end_the_session_of_a_removed_peer)
{
	struct harness *h = START_UP(0);
	struct by_hand by;
	struct inbox_message *message = answer(h, &by, active(h)->id);
	cr_assert(harness_remove_peer(h, 0));
	free(inbox_take(inbox_of(h))); /* END is not there yet */
	post(h, message);
	cr_assert_eq(late(h), 1);
	cr_assert_eq(h->clients[0].seen.bye_reason, WIRE_BYE_REMOVED);
	cr_assert_eq(h->gateway.registry.pool.used, 0);
	forget(&by);
	finish(h);
}

Test(handshake_order, end_says_bye_and_frees_active_and_pending)
{
	static const uint8_t own[4] = {10, 8, 0, 9};
	struct harness *h = START_UP(.fixed = {"10.8.0.9"}, .networks = {{"192.168.7.0/24"}});
	const struct registry *registry = &h->gateway.registry;
	struct by_hand by;
	send_hello(h, &by, 0, 0);
	harness_pump(h);
	cr_assert(harness_pending_session(h, 0) != NULL && registry_route(registry, 4, own) != 0);
	cr_assert(harness_remove_peer(h, 0));
	harness_pump(h);
	cr_assert_eq(h->clients[0].seen.bye_reason, WIRE_BYE_REMOVED);
	cr_assert_eq(registry->pool.used, 0);
	cr_assert_eq(registry_route(registry, 4, own), 0);
	cr_assert_eq(harness_gateway_worker(h, 0)->session_count, 0);
	cr_assert_eq(harness_add_peer(h, 0), 0, "address and network are free again");
	check(h);
	cr_assert(harness_wait(h, 0, CLIENT_UP, 30 * NS_PER_S));
	cr_assert_eq(registry_route(registry, 4, own), active(h)->id);
	finish(h);
}

Test(handshake_order, keys_of_an_epoch_that_is_over_are_dropped)
{
	struct harness *h = START_UP(0);
	struct by_hand first, second;
	struct session *session = active(h);
	struct inbox_message *one = answer(h, &first, session->id), *other = answer(h, &second, session->id);
	post(h, one);
	acknowledge(&first);
	cr_assert_eq(session->current->epoch, 2);
	post(h, other); /* also epoch 2 */
	cr_assert_eq(late(h), 1);
	cr_assert_null(session->next);
	forget(&first), forget(&second);
	finish(h);
}

/* --- one takes the place of another ------------------------------------------------------------------------------- */

Test(handshake_order, rekey_and_new_session_cancel_each_other)
{
	struct harness *h = START_UP(0);
	struct by_hand by;
	struct session *session = active(h);
	for (unsigned round = 0; round < 3; round++) {
		send_hello(h, &by, 0, 0);
		harness_pump(h);
		cr_assert(harness_pending_session(h, 0) != NULL && session->next == NULL);
		check(h);
		send_hello(h, &by, 0, session->id);
		harness_pump(h);
		cr_assert(harness_pending_session(h, 0) == NULL && session->next != NULL);
		check(h);
	}
	cr_assert_eq(late(h), 0);
	cr_assert(pings(h));
	finish(h);
}

Test(handshake_order, replacement_hands_the_address_over_without_a_gap)
{
	struct harness *h = START_UP(0);
	const struct pool *pool = &h->gateway.registry.pool;
	struct by_hand by;
	const uint32_t old = active(h)->id;
	uint8_t address[4];
	memcpy(address, active(h)->inner4.address.bytes, sizeof address);
	struct inbox_message *message = answer(h, &by, 0);
	cr_assert_eq(pool_lookup(pool, 4, address), old, "reserved");
	post(h, message);
	cr_assert_eq(pool_lookup(pool, 4, address), old, "installed");
	cr_assert(pings(h));
	send_ack(&by);
	struct worker *worker = harness_gateway_worker(h, 0);
	(void)intake_batch(worker);
	cr_assert_eq(pool_lookup(pool, 4, address), by.session.id, "confirmed");
	harness_pump(h);
	cr_assert_eq(pool_lookup(pool, 4, address), by.session.id, "the old one retired and collected");
	cr_assert_eq(h->clients[0].seen.bye_reason, WIRE_BYE_REPLACED);
	cr_assert_eq(active(h)->id, by.session.id);
	cr_assert_eq(pool->used, 1);
	forget(&by);
	finish(h);
}

/* --- keys before packets ------------------------------------------------------------------------------------------ */

/* The inbox gets the keys when the worker has read it for this turn, and the socket what was sealed under them. */
static void in_one_turn(struct harness *h, uint32_t session_id, bool by_copy)
{
	struct by_hand by;
	struct worker *worker = harness_gateway_worker(h, 0);
	struct inbox_message *message = answer(h, &by, session_id);
	inbox_post(inbox_of(h), message);
	if (by_copy) {
		uint8_t ack[64];
		struct node *node = &h->clients[0].node;
		struct endpoint from = {.remote = node->link.address, .local = h->gateway_address.sin6_addr};
		uint32_t length = node_seal(node, &by.session, by.key, WIRE_CLIENT_ACK, NULL, 0, ack);
		cr_assert(copy_ring_push(h->gateway.copies[0], &from, 0, ack, length));
		stats_add(&worker->loop.stats, udp_rx_packets, 1); /* as the receiving worker counts it */
		cr_assert_eq(uplink_copies(worker), 1);
	} else {
		send_ack(&by);
		cr_assert_eq(intake_batch(worker), 1);
	}
	cr_assert_eq(node_drops(&h->gateway.node, DROP_SESSION), 0);
	cr_assert_eq(node_drops(&h->gateway.node, DROP_EPOCH), 0);
	cr_assert_eq(gateway_count(h, STATS_tx_reset), 0);
	cr_assert_eq(active(h)->id, by.session.id);
	cr_assert_eq(active(h)->current->epoch, by.key->epoch);
	forget(&by);
	finish(h);
}

Test(handshake_order, a_packet_of_an_unknown_session_makes_the_worker_read_its_inbox)
{
	in_one_turn(START(.reset = true), 0, false);
	in_one_turn(START(.reset = true), 0, true);
}

Test(handshake_order, a_packet_of_an_unknown_epoch_makes_the_worker_read_its_inbox)
{
	struct harness *h = START_UP(0);
	in_one_turn(h, active(h)->id, false);
	h = START_UP(0);
	in_one_turn(h, active(h)->id, true);
}
