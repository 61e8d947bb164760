// SPDX-License-Identifier: Apache-2.0
#include "workers/handshake_protocol.h"

#include <errno.h>
#include <sodium.h>
#include <time.h>

enum {
	HANDSHAKER_MESSAGES = 16, /* of a batch: trains or single datagrams */
	HANDSHAKER_ANSWERS = 16,  /* of a turn, at most; 1 while the socket has more */
	HANDSHAKER_COPIES = 16,	  /* of a turn */
	HANDSHAKER_LOADED = 16,	  /* so many datagrams in a turn are load */
	HANDSHAKER_SOURCES = 16384,
};
#define HANDSHAKER_LOAD_NS   NS_PER_S	      /* how long load is remembered */
#define HANDSHAKER_BEHIND_NS (50 * NS_PER_MS) /* less than the socket can hold of a flood */

/* --- COOKIE ------------------------------------------------------------------------------------------------------- */

static void count_cookies(struct handshaker *h, const struct udp_message *messages, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		message_count_sent(&h->loop.stats, messages[i].data);
		stats_add(&h->loop.stats, udp_tx_packets, 1);
		stats_add(&h->loop.stats, udp_tx_bytes, messages[i].length);
		stats_add(&h->loop.stats, udp_tx_control, 1);
	}
}

/* They are in the order of their HELLOs. A client that gets none sends HELLO again. */
static void send_cookies(struct handshaker *h)
{
	struct handshaker_cookies *cookies = &h->cookies;
	for (size_t at = 0; at < cookies->count;) {
		const struct udp_message *messages = cookies->messages + at;
		int sent = h->params.udp->ops->send(h->params.udp, messages, cookies->count - at);
		stats_add(&h->loop.stats, udp_tx_calls, 1);
		if (sent == -EAGAIN)
			break;
		/* A forged source may have no route: the other COOKIEs are sent all the same. */
		at += sent > 0 ? (size_t)sent : 1;
		count_cookies(h, messages, sent > 0 ? (size_t)sent : 0);
	}
	cookies->count = 0;
}

/* The key that seals COOKIEs is the same for all time and threads: 16 random bytes keep their nonces apart, and each
 * counts its own. */
static void next_nonce(struct handshaker_cookies *cookies)
{
	uint8_t *counter = cookies->nonce + COOKIE_NONCE_SIZE - 8;
	store_be64(counter, load_be64(counter) + 1);
}

void handshaker_give_cookie(struct handshaker *h, const struct handshake_protocol *protocol,
			    const struct endpoint *from, const uint8_t *message, uint64_t number)
{
	if (h->behind && !rate_limiter_allow(&h->cookie_sources, from->remote.sin6_addr.s6_addr, h->now))
		return;
	struct handshaker_cookies *cookies = &h->cookies;
	uint8_t *answer = cookies->bytes[cookies->count];
	protocol->write_cookie(h, from, message, number, cookies->nonce, answer);
	next_nonce(cookies);
	cookies->messages[cookies->count++] = (struct udp_message){
		.data = answer, .length = protocol->cookie_size, .endpoint = *from};
	if (cookies->count == HANDSHAKER_COOKIES)
		send_cookies(h);
}

/* --- HELLO -------------------------------------------------------------------------------------------------------- */

bool handshaker_under_load(const struct handshaker *h)
{
	return h->params.common->always_cookie || h->now < h->load_until;
}

void handshaker_tell_refused(struct handshaker *h, const struct handshake_refusal *refusal)
{
	enum drop_reason reason = refusal->reason;
	bool peer_known = refusal->peer != NULL;
	if (reason != DROP_UNKNOWN_PEER && reason != DROP_NO_SUITE && reason != DROP_NO_ADDRESS &&
	    !(reason == DROP_HELLO_RATE && peer_known))
		return;
	enum event_kind kind = peer_known && refusal->session_id != 0 ? EVENT_REKEY_FAILED : EVENT_REFUSED;
	struct event *event = event_new(&h->events, kind, h->now);
	if (event == NULL)
		return;
	event->session_id = refusal->session_id;
	event->endpoint = refusal->from->remote;
	event->reason = refusal->other_protocol ? "other_protocol" : drop_infos[reason].label;
	event->protocol = refusal->protocol;
	memcpy(event->peer, refusal->client_key, sizeof event->peer);
	event_post(&h->events, event);
}

struct inbox_message *handshaker_new_install(const struct registry_grant *grant, const struct endpoint *from)
{
	struct inbox_message *message = calloc(1, sizeof *message);
	if (message == NULL)
		return NULL;
	message->kind = INBOX_INSTALL;
	message->session_id = grant->session_id;
	message->install.made = grant->made;
	message->install.order = grant->order;
	message->install.cancels = grant->cancels;
	message->install.from = *from;
	return message;
}

void handshaker_post(struct handshaker *h, struct inbox_message *message)
{
	const struct registry *registry = h->params.common->registry;
	inbox_post(h->params.common->inboxes[session_shard(&registry->table.sharding, message->session_id)], message);
}

static const struct handshake_protocol *protocol_of(const uint8_t *message)
{
	if (!message_is_wireguard(message))
		return &handshake_own;
	return message[0] == WG_RESPONSE ? &handshake_wireguard_response : &handshake_wireguard;
}

static void take_waiting(struct handshaker *h, const struct waiting_hello *waiting)
{
	stage_begin(&h->loop.stages);
	enum drop_reason reason = protocol_of(waiting->message)->answer(h, waiting);
	stage_lap(&h->loop.stages, STAGE_HANDSHAKE);
	if (reason == DROP_NONE)
		message_count_received(&h->loop.stats, waiting->message);
	else
		stats_drop(&h->loop.stats, reason, 1);
}

/* Takes up to `most` of those that wait: all in their order, or if there are more, the newest. Returns how many. */
static size_t answer_waiting(struct handshaker *h, size_t most)
{
	bool all = h->waiting.count <= most;
	const struct waiting_hello *waiting;
	size_t count = 0;
	for (; count < most; count++) {
		waiting = all ? hello_queue_take_oldest(&h->waiting) : hello_queue_take_newest(&h->waiting);
		if (waiting == NULL)
			break;
		take_waiting(h, waiting);
	}
	return count;
}

/* --- what other gateways forward ---------------------------------------------------------------------------------- */

bool handshaker_forward(struct handshaker *h, const struct waiting_hello *waiting, const struct peer *peer)
{
	const struct registry *registry = h->params.common->registry;
	const struct forwarder *forwarder = h->params.common->forwarder;
	if (forwarder == NULL || waiting->forwarded)
		return false;
	struct forwarded forwarded = {.source = waiting->from.remote,
				      .local = waiting->from.local,
				      .proven = waiting->proven,
				      .length = protocol_of(waiting->message)->size};
	_Static_assert((int)FORWARD_CARRIED_MAX == (int)WIRE_HELLO_SIZE, "HELLO fits");
	memcpy(forwarded.message, waiting->message, forwarded.length);
	unsigned block = block_of_index(peer->fixed_index, registry->fence->peers);
	if (!forwarder_send(forwarder, &h->sender, block, &forwarded)) {
		stats_add(&h->loop.stats, forwards_unsent, 1);
		return false;
	}
	stats_add(&h->loop.stats, forwards_sent, 1);
	return true;
}

/* --- the socket --------------------------------------------------------------------------------------------------- */

/* Checks that cost no more than hashes, at once: so the socket is emptied far faster than HELLOs are answered. HELLOs
 * that pass wait in the queue. `forwarded`: another gateway sent it; `proven`: and verified its source. */
static enum drop_reason take_hello_from(struct handshaker *h, const struct endpoint *from, const uint8_t *data,
					bool forwarded, bool proven)
{
	const struct handshake_protocol *protocol = protocol_of(data);
	if (!protocol->check_mac1(h, data))
		return DROP_MAC1;
	bool loaded = handshaker_under_load(h);
	proven = proven || protocol->source_proven(h, from, data);
	if (loaded && !proven) {
		handshaker_give_cookie(h, protocol, from, data, 0);
		return DROP_COOKIE;
	}
	/* A forged source must not use up the rate of the address's owner; and without load a source that leaves mac2
	 * out would not be limited. */
	if (loaded && !rate_limiter_allow(&h->sources, from->remote.sin6_addr.s6_addr, h->now))
		return DROP_HELLO_RATE;
	if (!hello_queue_put(&h->waiting, from, data, protocol->size, h->now))
		stats_drop(&h->loop.stats, DROP_HELLO_LATE, 1); /* another, the oldest */
	struct waiting_hello *waiting = hello_queue_newest(&h->waiting);
	waiting->proven = proven;
	waiting->forwarded = forwarded;
	return DROP_NONE;
}

static enum drop_reason take_hello(struct handshaker *h, const struct endpoint *from, const uint8_t *data)
{
	if (h->behind && !seen_sources_note(&h->seen, &from->remote, h->now))
		return DROP_COOKIE; /* a client retries; a flood of forged addresses rarely repeats one */
	return take_hello_from(h, from, data, false, false);
}

/* A gateway with our key sent it, but what is in it may be a stranger's. */
static void take_forwarded(struct handshaker *h, const struct inbox_message *message)
{
	const uint8_t *data = message->forwarded.message;
	enum drop_reason reason = message_classify(WIRE_SIDE_GATEWAY, data, message->forwarded.length).reason;
	bool begins = wire_type(data) == WIRE_HELLO && !message_is_wireguard(data);
	if (message_is_wireguard(data))
		begins = data[0] == WG_INITIATION && h->params.common->wireguard != NULL;
	if (reason == DROP_NONE && !begins)
		reason = DROP_TYPE;
	if (reason == DROP_NONE)
		reason = take_hello_from(h, &message->forwarded.from, data, true, message->forwarded.proven);
	stats_add(&h->loop.stats, forwards_taken, 1);
	if (reason != DROP_NONE)
		stats_drop(&h->loop.stats, reason, 1);
}

static enum drop_reason take_wireguard(struct handshaker *h, const struct endpoint *from, const uint8_t *data)
{
	if (h->params.common->wireguard == NULL)
		return DROP_TYPE;
	if (data[0] == WG_INITIATION)
		return take_hello(h, from, data);
	if (initiations_awaited(&h->initiations, wg_receiver(data, (enum wg_type)data[0]), h->now) == NULL)
		return DROP_UNEXPECTED;
	return data[0] == WG_RESPONSE ? take_hello(h, from, data) : handshaker_take_cookie(h, data);
}

/* A train that was steered here by a HELLO may hold datagrams of other threads. */
static void take_datagram(struct handshaker *h, const struct udp_message *train, const uint8_t *data, uint32_t length)
{
	struct wire_verdict verdict = message_classify(WIRE_SIDE_GATEWAY, data, length);
	enum drop_reason reason = verdict.reason;
	if (train->truncated)
		reason = DROP_TRUNCATED;
	else if (wire_is_transport(verdict.class))
		reason = handoff_pass(h->params.handoff, &train->endpoint, train->ecn, data, length, &h->loop.stats);
	else if (reason == DROP_NONE && message_is_wireguard(data))
		reason = take_wireguard(h, &train->endpoint, data);
	else if (reason == DROP_NONE)
		reason = take_hello(h, &train->endpoint, data);
	if (reason != DROP_NONE)
		stats_drop(&h->loop.stats, reason, 1);
}

/* Returns the number of datagrams. */
static uint32_t take_train(struct handshaker *h, const struct udp_message *train)
{
	struct udp_datagrams datagrams = udp_datagrams(train);
	while (udp_datagrams_next(&datagrams))
		take_datagram(h, train, datagrams.data, datagrams.length);
	stats_add(&h->loop.stats, udp_rx_packets, datagrams.count);
	stats_add(&h->loop.stats, udp_rx_bytes, train->length);
	return datagrams.count;
}

static size_t take_copies(struct handshaker *h)
{
	const struct udp_message *copy;
	size_t count = 0;
	for (; count < HANDSHAKER_COPIES && (copy = copy_ring_peek(h->params.copies, 0)) != NULL; count++) {
		take_datagram(h, copy, copy->data, copy->length);
		copy_ring_pop(h->params.copies, 1);
	}
	return count;
}

static size_t take_requests(struct handshaker *h, size_t most)
{
	struct inbox_message *message;
	size_t count = 0;
	for (; count < most && (message = inbox_take(&h->inbox)) != NULL; count++) {
		stage_begin(&h->loop.stages);
		if (message->kind == INBOX_FORWARDED)
			take_forwarded(h, message);
		else
			handshaker_initiate(h, message);
		stage_lap(&h->loop.stages, STAGE_HANDSHAKE);
		free(message);
	}
	return count;
}

/* A burst is worked off: only a backlog that lasts is too much. */
static void note_backlog(struct handshaker *h, bool full)
{
	if (!full)
		h->full_since = 0;
	else if (h->full_since == 0)
		h->full_since = h->now;
	h->behind = full && h->now - h->full_since >= HANDSHAKER_BEHIND_NS;
}

size_t handshaker_turn(struct handshaker *h)
{
	owner_check(&h->loop.owner, "handshake thread");
	h->now = clock_monotonic(h->params.clock);
	size_t datagrams = take_copies(h);
	int received = h->params.udp->ops->receive(h->params.udp, h->messages, HANDSHAKER_MESSAGES);
	if (received > 0)
		stats_add(&h->loop.stats, udp_rx_calls, 1);
	note_backlog(h, received == HANDSHAKER_MESSAGES);
	for (int i = 0; i < received; i++)
		datagrams += take_train(h, &h->messages[i]);
	stats_drop(&h->loop.stats, DROP_HELLO_LATE, hello_queue_expire(&h->waiting, h->now));
	size_t most = received == HANDSHAKER_MESSAGES ? 1 : HANDSHAKER_ANSWERS;
	size_t answered = take_requests(h, most); /* first: what was forwarded waits with what came itself */
	answered += answer_waiting(h, most);
	send_cookies(h);
	initiations_expire(&h->initiations, h->now);
	if (datagrams >= HANDSHAKER_LOADED || h->waiting.count != 0)
		h->load_until = h->now + HANDSHAKER_LOAD_NS; /* they come faster than they are answered */
	rcu_quiescent();
	return datagrams + answered;
}

/* --- the thread --------------------------------------------------------------------------------------------------- */

static uint64_t cpu_time(void)
{
	struct timespec spent = {0};
	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &spent);
	return (uint64_t)spent.tv_sec * NS_PER_S + (uint64_t)spent.tv_nsec;
}

static void wait_for_messages(struct handshaker *h)
{
	event_loop_prepare_wait(&h->loop);
	if (event_loop_stopped(&h->loop) || !copy_ring_empty(h->params.copies) || !inbox_empty(&h->inbox))
		event_loop_cancel_wait(&h->loop);
	else
		event_loop_wait(&h->loop, EVENT_LOOP_FOREVER);
}

/* The thread's share of a CPU, in windows. */
struct budget {
	uint64_t window;	  /* monotonic ns of its start */
	uint64_t spent;		  /* CPU time of the thread then */
	size_t messages;	  /* taken in this window */
	uint64_t overspent_since; /* monotonic ns; 0: the last window was enough for what came */
};

/* A burst uses up a window or two: only what lasts is load. Key pairs made ahead are no load. */
static void note_overspent(struct handshaker *h, struct budget *budget, uint64_t now)
{
	if (budget->messages == 0)
		return;
	if (budget->overspent_since == 0)
		budget->overspent_since = now;
	else if (now - budget->overspent_since >= HANDSHAKER_BEHIND_NS)
		h->load_until = now + HANDSHAKER_LOAD_NS;
}

/* Sleeps over the rest of a window in which the budget was used up: what comes meanwhile waits in the socket. */
static void keep_to_budget(struct handshaker *h, struct budget *budget, size_t messages)
{
	uint64_t now = clock_monotonic(h->params.clock);
	budget->messages += messages;
	if (now - budget->window < HANDSHAKER_WINDOW_NS) {
		uint64_t most = atomic_load_explicit(&h->budget, memory_order_relaxed);
		if (most == 0 || cpu_time() - budget->spent < most)
			return;
		uint64_t rest = HANDSHAKER_WINDOW_NS - (now - budget->window);
		struct timespec pause = {.tv_nsec = (long)rest};
		note_overspent(h, budget, now);
		rcu_offline();
		(void)nanosleep(&pause, NULL);
		rcu_online();
		now += rest;
	} else {
		budget->overspent_since = 0;
	}
	budget->window = now;
	budget->spent = cpu_time();
	budget->messages = 0;
}

void handshaker_set_budget(struct handshaker *h, uint64_t ns)
{
	atomic_store_explicit(&h->budget, ns, memory_order_relaxed);
}

void handshaker_run(struct handshaker *h)
{
	struct budget budget = {.window = clock_monotonic(h->params.clock), .spent = cpu_time()};
	owner_set(&h->loop.owner);
	do {
		while (event_loop_running(&h->loop)) {
			size_t messages = handshaker_turn(h);
			if (messages == 0 && !ephemerals_prepare(&h->ephemerals))
				wait_for_messages(h);
			keep_to_budget(h, &budget, messages);
		}
	} while (event_loop_rest(&h->loop));
	stats_drop(&h->loop.stats, DROP_HELLO_LATE, hello_queue_clear(&h->waiting));
	owner_clear(&h->loop.owner);
}

static int open_buffers(struct handshaker *h)
{
	h->messages = calloc(HANDSHAKER_MESSAGES, sizeof *h->messages);
	h->buffers = malloc((size_t)HANDSHAKER_MESSAGES * UDP_MESSAGE_MAX);
	if (h->messages == NULL || h->buffers == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < HANDSHAKER_MESSAGES; i++)
		h->messages[i].data = h->buffers + i * UDP_MESSAGE_MAX;
	return 0;
}

struct handshaker *handshaker_new(const struct handshaker_params *params, struct error *error)
{
	struct handshaker *h = aligned_alloc(CACHE_LINE, sizeof *h);
	if (h == NULL) {
		error_set(error, -ENOMEM, "handshake thread: out of memory");
		return NULL;
	}
	memset(h, 0, sizeof *h);
	h->params = *params;
	handshaker_set_budget(h, params->budget);
	h->now = clock_monotonic(params->clock);
	inbox_init(&h->inbox, &h->loop.waker);
	forward_sender_init(&h->sender);
	randombytes_buf(h->cookies.nonce, sizeof h->cookies.nonce);
	event_source_init(&h->events, params->common->events, params->common->share);
	int result = event_loop_init(&h->loop, params->stage_sampling, params->ticks_per_second);
	if (result == 0)
		result = event_loop_watch_socket(&h->loop, params->udp, EVENT_LOOP_UDP);
	if (result == 0)
		result = rate_limiter_init(&h->sources, HANDSHAKER_SOURCES,
					   token_rate_make(HANDSHAKER_SOURCE_RATE, HANDSHAKER_SOURCE_BURST));
	if (result == 0)
		result = rate_limiter_init(&h->cookie_sources, HANDSHAKER_SOURCES,
					   token_rate_make(HANDSHAKER_COOKIE_RATE, HANDSHAKER_COOKIE_BURST));
	if (result == 0)
		result = seen_sources_init(&h->seen);
	if (result == 0)
		result = hello_queue_init(&h->waiting, HANDSHAKER_WAITING);
	if (result == 0)
		result = ephemerals_init(&h->ephemerals, params->ephemerals);
	if (result == 0)
		result = initiations_init(&h->initiations);
	if (result == 0)
		result = open_buffers(h);
	if (result != 0) {
		error_set(error, result, "handshake thread: %s", strerror(-result));
		handshaker_free(h);
		return NULL;
	}
	copy_ring_own(h->params.copies, &h->loop.owner);
	owner_follow(&h->inbox.owner, &h->loop.owner);
	return h;
}

void handshaker_free(struct handshaker *h)
{
	if (h == NULL)
		return;
	for (struct inbox_message *message; (message = inbox_take(&h->inbox)) != NULL;)
		free(message);
	inbox_deinit(&h->inbox);
	initiations_deinit(&h->initiations);
	event_loop_deinit(&h->loop);
	free(h->buffers);
	free(h->messages);
	ephemerals_deinit(&h->ephemerals);
	hello_queue_deinit(&h->waiting);
	seen_sources_deinit(&h->seen);
	rate_limiter_deinit(&h->cookie_sources);
	rate_limiter_deinit(&h->sources);
	free(h);
}
