// SPDX-License-Identifier: Apache-2.0
#include <poll.h>
#include <sodium.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "core/base/cpu.h"
#include "perf/stgun/stgun.h"

enum {
	SOCKET_BUFFER = 8 << 20, /* of a thread, shared by its sockets */
	SOCKET_BUFFER_LEAST = 1 << 18,
	MESSAGES = 8, /* as receive.c takes them */
	LEAVE_TURN = 64,
	RENEW_TURN = 64,
	TIMERS_TURN = 16,  /* each may cost four scalar multiplications */
	RECEIVE_TURN = 64, /* batches, while handshakes go on */
};
#define WAIT_MOST_NS NS_PER_MS
#define SPIN_NS	     (60 * NS_PER_US)  /* nearer than that a sleep would be too long */
#define GRACE_NS     (200 * NS_PER_MS) /* for what was due in time, and is not sent yet */

/* --- sessions ----------------------------------------------------------------------------------------------------- */

static uint32_t slot_of(const struct stgun_thread *thread, uint32_t id)
{
	return (uint32_t)((id * 0x9e3779b97f4a7c15ull) >> 32) & thread->index_mask;
}

struct stgun_session *stgun_find(struct stgun_thread *thread, uint32_t id)
{
	for (uint32_t slot = slot_of(thread, id);; slot = (slot + 1) & thread->index_mask) {
		uint32_t index = thread->index[slot];
		if (index == 0)
			return NULL;
		if (thread->sessions[index - 1].id == id)
			return &thread->sessions[index - 1];
	}
}

static void insert(struct stgun_thread *thread, uint32_t index)
{
	uint32_t slot = slot_of(thread, thread->sessions[index].id);
	while (thread->index[slot] != 0)
		slot = (slot + 1) & thread->index_mask;
	thread->index[slot] = index + 1;
	thread->index_used++;
}

void stgun_index(struct stgun_thread *thread, struct stgun_session *session, uint32_t id)
{
	session->id = id;
	if (thread->index_used < thread->index_mask / 4 * 3) {
		insert(thread, (uint32_t)(session - thread->sessions));
		return;
	}
	/* Full of IDs that sessions had before. */
	memset(thread->index, 0, ((size_t)thread->index_mask + 1) * sizeof *thread->index);
	thread->index_used = 0;
	for (uint32_t i = 0; i < thread->count; i++) {
		if (thread->sessions[i].id != 0)
			insert(thread, i);
	}
}

void stgun_forget(struct stgun_session *session)
{
	transport_key_free(session->key);
	session->key = NULL;
	session->id = 0;
}

/* --- sending ------------------------------------------------------------------------------------------------------ */

static struct udp_socket *socket_of(const struct stgun_thread *thread, const struct stgun_session *session)
{
	/* Neighbours share a socket: it changes seldom when sessions send in turn. */
	uint64_t index = (uint64_t)(session - thread->sessions);
	return thread->sockets[index * thread->stgun->options->ports / thread->count];
}

/* The session's own source: the network's addresses in turn, without its first, and in IPv4 its last. */
static void source_of(const struct stgun_thread *thread, const struct stgun_session *session, struct in6_addr *local)
{
	const struct ip_prefix *source = &thread->stgun->options->source;
	if (source->address.family == 0) {
		*local = in6addr_any;
		return;
	}
	bool v4 = source->address.family == 4;
	unsigned bits = (v4 ? 32u : 128u) - source->length;
	uint64_t hosts = bits >= 32 ? 1ull << 32 : 1ull << bits;
	uint64_t number = thread->first + (uint64_t)(session - thread->sessions), host = 0;
	if (hosts > 2)
		host = 1 + number % (hosts - 2);
	else
		host = number % hosts;
	memset(local, 0, sizeof *local);
	if (v4)
		memset(&local->s6_addr[10], 0xff, 2);
	memcpy(&local->s6_addr[v4 ? 12 : 0], source->address.bytes, v4 ? 4 : 16);
	store_be32(&local->s6_addr[12], load_be32(&local->s6_addr[12]) + (uint32_t)host);
}

void stgun_flush(struct stgun_thread *thread)
{
	if (thread->queue.count == 0)
		return;
	uint64_t before = thread->stats.drops[DROP_OUT_SEND];
	send_queue_flush(&thread->queue, thread->queue_socket, &thread->stats);
	stgun_count(thread, refused, thread->stats.drops[DROP_OUT_SEND] - before);
}

uint8_t *stgun_reserve(struct stgun_thread *thread, const struct stgun_session *session, uint32_t id, uint32_t length)
{
	struct udp_socket *socket = socket_of(thread, session);
	if (thread->queue_socket != socket) {
		stgun_flush(thread);
		if (thread->queue.count != 0)
			return NULL;
		thread->queue_socket = socket;
	}
	struct endpoint to = {.remote = thread->stgun->gateway};
	source_of(thread, session, &to.local);
	uint8_t *room = send_queue_reserve(&thread->queue, id, false, &to, 0, length);
	if (room != NULL)
		return room;
	stgun_flush(thread);
	return send_queue_reserve(&thread->queue, id, false, &to, 0, length);
}

bool stgun_send_control(struct stgun_thread *thread, struct stgun_session *session, enum wire_type type,
			const uint8_t *payload, uint32_t length)
{
	uint8_t *room = stgun_reserve(thread, session, 0, length + session->key->dialect->overhead);
	if (room == NULL || transport_key_spent(session->key))
		return false;
	transport_seal(thread->aead, session->key, session->id, type, payload != NULL ? payload : thread->form.bytes,
		       length, room);
	return true;
}

/* --- orders ------------------------------------------------------------------------------------------------------- */

static void set_form(struct stgun_thread *thread)
{
	const struct stgun *stgun = thread->stgun;
	struct ip_address to = stgun->options->to;
	if (to.family == 0 && atomic_load_explicit(&thread->stgun->told_gateway, memory_order_acquire))
		to = stgun->gateway4.family != 0 ? stgun->gateway4 : stgun->gateway6;
	stgun_packet_form_init(&thread->form, &to, stgun->options->to_port);
}

static void reset_counters(struct stgun_thread *thread)
{
	for (size_t i = 0; i < STGUN_COUNTER_COUNT; i++)
		atomic_store_explicit(&thread->counters[i], 0, memory_order_relaxed);
	atomic_store_explicit(&thread->offered, 0, memory_order_relaxed);
	atomic_store_explicit(&thread->finished, 0, memory_order_relaxed);
	if (thread->order.fresh_latency)
		histogram_clear(&thread->latency);
}

static void publish_offered(struct stgun_thread *thread)
{
	uint64_t units = thread->pacer.interval == 0 ? thread->pacer.issued : pacer_offered(&thread->pacer);
	atomic_store_explicit(&thread->offered, units * thread->order.packets, memory_order_relaxed);
}

static void take_order(struct stgun_thread *thread, uint64_t number)
{
	/* Cut short. */
	if (thread->order.phase == STGUN_FIRE && thread->now < thread->pacer.end) {
		thread->pacer.end = thread->now > thread->pacer.start ? thread->now : thread->pacer.start;
		atomic_store_explicit(&thread->finished, thread->pacer.end, memory_order_relaxed);
		publish_offered(thread);
	}
	bool same_run = thread->stgun->order.phase == STGUN_IDLE;
	uint32_t run = thread->order.run;
	thread->order = thread->stgun->order;
	atomic_store_explicit(&thread->taken, number, memory_order_release);
	if (same_run) { /* what is on its way still counts */
		thread->order.run = run;
		return;
	}
	thread->next = 0;
	thread->answers = thread->given_up = 0;
	thread->progress = thread->now;
	reset_counters(thread);
	if (thread->order.phase == STGUN_FIRE || thread->order.phase == STGUN_HOLD)
		set_form(thread);
	/* The threads' units lie between each other. */
	uint64_t shift = (uint64_t)(thread->order.interval * thread->number / thread->stgun->options->threads);
	thread->pacer = (struct pacer){
		.start = thread->order.start + shift, .end = thread->order.end, .interval = thread->order.interval};
	if (thread->order.phase == STGUN_FIRE)
		publish_offered(thread);
}

/* A BYE each, at the order's rate; true when some are left. */
static bool leave(struct stgun_thread *thread)
{
	static const uint8_t reason[1 + AEAD_INPUT_SLACK] = {WIRE_BYE_LEAVING};
	for (uint32_t sent = 0; sent < LEAVE_TURN && thread->next < thread->count; thread->next++) {
		struct stgun_session *session = &thread->sessions[thread->next];
		stgun_abandon(thread, session); /* or it would come up after its BYE */
		if (session->key == NULL)
			continue;
		if (pacer_due(&thread->pacer, thread->now, 1) == 0)
			return false;
		/* WireGuard has no good-bye. */
		if (!thread->stgun->options->wireguard && !stgun_send_control(thread, session, WIRE_BYE, reason, 1) &&
		    !transport_key_spent(session->key))
			return true;
		stgun_forget(session);
		thread->pacer.issued++;
		sent++;
	}
	return thread->next < thread->count;
}

/* All is sent, or too late to be. */
static bool fired(struct stgun_thread *thread)
{
	const struct pacer *pacer = &thread->pacer;
	uint64_t grace = pacer->interval != 0 && pacer->issued < pacer_offered(pacer) ? GRACE_NS : 0;
	if (thread->now < pacer->end + grace)
		return false;
	if (atomic_load_explicit(&thread->finished, memory_order_relaxed) == 0)
		atomic_store_explicit(&thread->finished, thread->now, memory_order_relaxed);
	return true;
}

/* Whether the order is carried out; *worked says whether there was something to do. */
static bool follow(struct stgun_thread *thread, bool *worked)
{
	switch (thread->order.phase) {
	case STGUN_PREPARE:
		*worked |= stgun_prepare(thread);
		return thread->next == thread->count;
	case STGUN_DIAL:
		*worked |= stgun_dial(thread);
		return thread->counters[STGUN_COUNT_up] == thread->count;
	case STGUN_FIRE:
		if (fired(thread))
			return true;
		*worked |= stgun_fire(thread);
		if (thread->pacer.interval == 0)
			publish_offered(thread);
		return false;
	case STGUN_HOLD:
		*worked |= stgun_hold(thread);
		return thread->now >= thread->order.end;
	case STGUN_LEAVE:
		*worked |= leave(thread);
		return thread->next == thread->count && thread->queue.count == 0;
	default:
		return true;
	}
}

/* Some in each turn are looked at, and one is renewed. A gateway takes WireGuard's keys for 180 s. */
static void renew(struct stgun_thread *thread)
{
	if (!thread->stgun->options->wireguard || thread->order.phase == STGUN_LEAVE)
		return;
	for (unsigned i = 0; i < RENEW_TURN; i++) {
		thread->renewed = thread->renewed + 1 < thread->count ? thread->renewed + 1 : 0;
		struct stgun_session *session = &thread->sessions[thread->renewed];
		if (session->key == NULL || session->attempt != NULL ||
		    thread->now - session->key->born < thread->stgun->options->renew)
			continue;
		stgun_renew(thread, session);
		return;
	}
}

/* Until something comes, but not beyond the next unit's time. */
static void wait_for_work(struct stgun_thread *thread)
{
	uint64_t wait = WAIT_MOST_NS;
	bool sends = thread->order.phase == STGUN_FIRE && !fired(thread);
	if (sends && thread->queue.blocked) {
		struct pollfd full = {.fd = thread->queue_socket->fd, .events = POLLOUT};
		(void)poll(&full, 1, 1);
		return;
	}
	if (sends || (thread->order.phase == STGUN_DIAL && thread->next < thread->count)) {
		uint64_t next = pacer_time(&thread->pacer, thread->pacer.issued, thread->now + WAIT_MOST_NS);
		uint64_t left = next > thread->now ? next - thread->now : 0;
		if (left <= SPIN_NS)
			return;
		wait = left - SPIN_NS < wait ? left - SPIN_NS : wait;
	}
	struct timespec timeout = {.tv_nsec = (long)wait};
	struct pollfd readable = {.fd = thread->epoll_fd >= 0 ? thread->epoll_fd : thread->sockets[0]->fd,
				  .events = POLLIN};
	(void)ppoll(&readable, 1, &timeout, NULL);
}

/* A thread with more handshakes under way than it has time for finishes those that were answered before it computes new
 * HELLOs: else it would be late for each WELCOME, and never come to an end. */
static bool receive(struct stgun_thread *thread)
{
	uint32_t most = thread->order.phase == STGUN_FIRE ? 1 : RECEIVE_TURN, batches = 0;
	while (batches < most && stgun_receive(thread))
		batches++;
	return batches != 0;
}

void *stgun_thread_run(void *argument)
{
	struct stgun_thread *thread = argument;
	struct stgun *stgun = thread->stgun;
	char name[16];
	(void)snprintf(name, sizeof name, "stgun-%u", thread->number);
	thread_set_name(name);
	while (thread->order.phase != STGUN_QUIT) {
		thread->now = clock_monotonic(&clock_system);
		bool worked = receive(thread);
		uint64_t number = atomic_load_explicit(&stgun->order_number, memory_order_acquire);
		if (number != atomic_load_explicit(&thread->taken, memory_order_relaxed))
			take_order(thread, number);
		(void)timer_wheel_advance(&thread->wheel, thread->now, stgun_attempt_due, thread, TIMERS_TURN);
		renew(thread);
		bool done = thread->queue.blocked ? false : follow(thread, &worked);
		if (thread->order.phase == STGUN_FIRE)
			done = fired(thread);
		if (thread->number == 0)
			stgun_ask(thread);
		stgun_flush(thread);
		if (done)
			atomic_store_explicit(&thread->done, number, memory_order_release);
		if (!worked)
			wait_for_work(thread);
	}
	return NULL;
}

/* --- making ------------------------------------------------------------------------------------------------------- */

static int open_sockets(struct stgun_thread *thread, struct error *error)
{
	const struct stgun_options *options = thread->stgun->options;
	uint32_t buffer = SOCKET_BUFFER / options->ports;
	struct udp_params params = {.buffer = buffer > SOCKET_BUFFER_LEAST ? buffer : SOCKET_BUFFER_LEAST,
				    .gso = true,
				    .gro = options->gro};
	thread->sockets = calloc(options->ports, sizeof *thread->sockets);
	if (thread->sockets == NULL)
		return error_set(error, -ENOMEM, "no memory for %u sockets", options->ports);
	for (uint32_t i = 0; i < options->ports; i++) {
		thread->sockets[i] = udp_open(&params, error);
		if (thread->sockets[i] == NULL)
			return -EIO;
	}
	thread->queue_socket = thread->sockets[0];
	if (options->ports == 1)
		return 0;
	thread->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	for (uint32_t i = 0; i < options->ports; i++) {
		struct epoll_event event = {.events = EPOLLIN, .data.ptr = thread->sockets[i]};
		if (thread->epoll_fd < 0 ||
		    epoll_ctl(thread->epoll_fd, EPOLL_CTL_ADD, thread->sockets[i]->fd, &event) != 0)
			return error_set(error, -errno, "epoll: %s", strerror(errno));
	}
	return 0;
}

static int take_memory(struct stgun_thread *thread, struct error *error)
{
	uint32_t slots = 64;
	while (slots < 2 * thread->count)
		slots *= 2;
	thread->index_mask = slots - 1;
	thread->index = calloc(slots, sizeof *thread->index);
	thread->sessions = calloc(thread->count, sizeof *thread->sessions);
	thread->messages = calloc(MESSAGES, sizeof *thread->messages);
	thread->buffers = malloc((size_t)MESSAGES * UDP_MESSAGE_MAX);
	if (thread->index == NULL || thread->sessions == NULL || thread->messages == NULL || thread->buffers == NULL ||
	    send_queue_init(&thread->queue) != 0)
		return error_set(error, -ENOMEM, "no memory for %u sessions", thread->count);
	for (size_t i = 0; i < MESSAGES; i++)
		thread->messages[i].data = thread->buffers + i * UDP_MESSAGE_MAX;
	return 0;
}

/* All clients have the gateway's key and the pre-shared one in common. */
static int know_gateway(struct stgun_thread *thread, struct error *error)
{
	const struct stgun_options *options = thread->stgun->options;
	struct handshake_identity own;
	uint8_t private_key[KEY_SIZE];
	seed_private_key(&options->seed, options->first + thread->first, private_key);
	handshake_identity_init(&own, private_key);
	bool known = options->wireguard
			     ? wg_remote_init(&thread->remote, &own, options->gateway_key, options->preshared_key)
			     : handshake_remote_init(&thread->remote, &own, options->gateway_key,
						     options->preshared_key);
	if (!known)
		return error_set(error, -EINVAL, "--gateway-key: that is not a key that a gateway can have");
	return 0;
}

struct stgun_thread *stgun_thread_new(struct stgun *stgun, unsigned number, struct error *error)
{
	const struct stgun_options *options = stgun->options;
	struct stgun_thread *thread = aligned_alloc(CACHE_LINE, sizeof *thread);
	if (thread == NULL) {
		error_set(error, -ENOMEM, "no memory for a thread");
		return NULL;
	}
	memset(thread, 0, sizeof *thread);
	thread->stgun = stgun;
	thread->number = number;
	thread->random = number;
	thread->epoll_fd = -1;
	thread->first = (uint32_t)((uint64_t)options->sessions * number / options->threads);
	thread->count = (uint32_t)((uint64_t)options->sessions * (number + 1) / options->threads) - thread->first;
	thread->now = clock_monotonic(&clock_system);
	timer_wheel_init(&thread->wheel, thread->now, TIMER_WHEEL_TICK_BITS);
	thread->aead = aead_engine_new("auto", error);
	if (thread->aead != NULL && take_memory(thread, error) == 0 && know_gateway(thread, error) == 0 &&
	    open_sockets(thread, error) == 0)
		return thread;
	stgun_thread_free(thread);
	return NULL;
}

void stgun_thread_free(struct stgun_thread *thread)
{
	if (thread == NULL)
		return;
	for (uint32_t i = 0; thread->sessions != NULL && i < thread->count; i++) {
		stgun_forget(&thread->sessions[i]);
		free(thread->sessions[i].attempt);
	}
	for (uint32_t i = 0; thread->sockets != NULL && i < thread->stgun->options->ports; i++)
		udp_close(thread->sockets[i]);
	if (thread->epoll_fd >= 0)
		close(thread->epoll_fd);
	free(thread->sockets);
	send_queue_deinit(&thread->queue);
	free(thread->buffers);
	free(thread->messages);
	free(thread->index);
	free(thread->sessions);
	aead_engine_free(thread->aead);
	sodium_memzero(&thread->remote, sizeof thread->remote);
	free(thread);
}
