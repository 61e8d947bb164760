// SPDX-License-Identifier: Apache-2.0
#include "workers/worker.h"

#include <poll.h>
#include <stdlib.h>

#include "core/base/hot.h"
#include "core/protocol/messages.h"
#include "workers/downlink.h"
#include "workers/initiator.h"
#include "workers/intake.h"
#include "workers/uplink.h"
#include "workers/worker_wait.h"

#define WORKER_FINE_NS	(100 * NS_PER_MS) /* turns stay short for so long after a packet that went ahead of others */
#define WORKER_DRAIN_NS (500 * NS_PER_MS) /* at the end, for data and BYEs to leave */

enum {
	WORKER_COALESCE_PACKETS = 1024,
	WORKER_DOWNLINK_BATCHES = 4, /* a turn: 240 KB and more; an uplink batch brings 1 MiB at most */
	WORKER_TIMERS = 256,	     /* a turn */
};

static int open_downlink(struct worker *worker, const struct worker_params *params)
{
	worker->reads_tun = params->reads_tun;
	worker->source_count = params->sources;
	worker->sources = calloc(params->sources + 1, sizeof *worker->sources);
	if (worker->sources == NULL)
		return -ENOMEM;
	if (!params->reads_tun)
		return 0;
	worker->batch.memory = downlink_batch_memory();
	if (worker->batch.memory == NULL)
		return -ENOMEM;
	worker->batch.tally = destination_shares_tally(worker->tun->shares, worker->tun->index);
	return params->wakers != NULL
		       ? frame_dispatch_init(&worker->dispatch, &params->table->sharding, params->wakers, false)
		       : 0;
}

void worker_set_waiting(struct worker *worker, uint64_t spin, uint64_t nap)
{
	atomic_store_explicit(&worker->spin, spin, memory_order_relaxed);
	atomic_store_explicit(&worker->nap, nap, memory_order_relaxed);
}

static void set_params(struct worker *worker, const struct worker_params *params)
{
	worker->index = params->index;
	worker->udp = params->udp;
	worker->tun = params->tun;
	worker->aead = params->aead;
	worker->clock = params->clock;
	worker->role = params->role;
	worker->role_state = params->role_state;
	worker->table = params->table;
	worker->handoff = params->handoff;
	worker->copies = params->copies;
	worker->shares = params->shares;
	worker->received = session_shares_tally(params->shares, params->index);
	worker->sparse = params->sparse;
	worker->sparse_udp = params->sparse_udp;
	worker->sparse_queue = params->sparse != NULL ? &params->sparse->queues[params->index] : NULL;
	worker_set_waiting(worker, params->spin, params->nap);
	worker->now = worker->next_tick = clock_monotonic(worker->clock);
}

/* The worker's thread owns all parts of the worker, and its sessions. */
static void own(struct worker *worker)
{
	owner_follow(&worker->wheel.owner, &worker->loop.owner);
	owner_follow(&worker->send.owner, &worker->loop.owner);
	owner_follow(&worker->inbox.owner, &worker->loop.owner);
	coalescer_own(worker->coalescer, &worker->loop.owner);
	if (worker->copies != NULL)
		copy_ring_own(worker->copies, &worker->loop.owner);
	if (worker->dispatch.all.pool != NULL)
		frame_dispatch_own(&worker->dispatch, &worker->loop.owner);
}

struct worker *worker_new(const struct worker_params *params, struct error *error)
{
	struct worker *worker = aligned_alloc(CACHE_LINE, sizeof *worker);
	if (worker == NULL) {
		error_set(error, -ENOMEM, "worker: out of memory");
		return NULL;
	}
	memset(worker, 0, sizeof *worker);
	CDS_INIT_LIST_HEAD(&worker->sessions);
	CDS_INIT_LIST_HEAD(&worker->ended);
	inbox_init(&worker->inbox, &worker->loop.waker);
	set_params(worker, params);
	timer_wheel_init(&worker->wheel, worker->now, TIMER_WHEEL_TICK_BITS);
	limits_init(worker);
	staging_area_init(&worker->staging);

	int result = event_loop_init(&worker->loop, params->stage_sampling, params->ticks_per_second);
	if (result == 0) {
		worker->coalescer = coalescer_new(WORKER_COALESCE_PACKETS, params->tun->offloads);
		result = worker->coalescer != NULL ? 0 : -ENOMEM;
	}
	if (result == 0)
		result = open_downlink(worker, params);
	if (result == 0)
		result = send_queue_init(&worker->send);
	if (result == 0)
		result = uplink_init(worker);
	if (result == 0)
		result = intake_init(worker);
	if (result == 0)
		result = worker_watch(worker);
	if (result != 0) {
		error_set(error, result, "worker: %s", strerror(-result));
		worker_free(worker);
		return NULL;
	}
	own(worker);
	return worker;
}

void worker_set_source(struct worker *worker, size_t index, const struct worker_source *source)
{
	worker->sources[index] = *source;
	frame_ring_own(source->ring, &worker->loop.owner);
	if (source->sparse != NULL)
		frame_ring_own(source->sparse, &worker->loop.owner);
	codel_init(&worker->sources[index].codel, CODEL_RING_TARGET_NS, CODEL_RING_INTERVAL_NS, TUN_FRAME_MAX);
}

struct frame_ring *worker_ring(struct worker *worker, uint32_t other)
{
	return frame_dispatch_ring(&worker->dispatch, other);
}

HOT static void retire_ended(struct worker *worker)
{
	struct session *session, *following;
	cds_list_for_each_entry_safe(session, following, &worker->ended, node)
	{
		cds_list_del(&session->node);
		owner_clear(&session->owner);
		worker->role->retire(worker, session);
	}
}

/* Ends the sessions that are left, without BYE. */
static void abandon_sessions(struct worker *worker)
{
	struct session *session, *following;
	cds_list_for_each_entry_safe(session, following, &worker->sessions, node)
	{
		worker_end_session(worker, session);
	}
	retire_ended(worker);
}

void worker_free(struct worker *worker)
{
	if (worker == NULL)
		return;
	(void)worker_read_inbox(worker);
	abandon_sessions(worker);
	inbox_deinit(&worker->inbox);
	event_loop_deinit(&worker->loop);
	intake_deinit(worker);
	uplink_deinit(worker);
	send_queue_deinit(&worker->send);
	coalescer_free(worker->coalescer);
	frame_dispatch_deinit(&worker->dispatch);
	limits_deinit(worker);
	free(worker->sources);
	free(worker->batch.memory);
	free(worker);
}

void worker_wake(struct worker *worker)
{
	atomic_store_explicit(&worker->attention, true, memory_order_release);
	(void)waker_wake(&worker->loop.waker);
}

HOT size_t worker_read_inbox(struct worker *worker)
{
	size_t count = 0;
	for (struct inbox_message *message; (message = inbox_take(&worker->inbox)) != NULL; count++) {
		worker->role->inbox(worker, message);
		free(message);
	}
	return count;
}

static void expire(struct timer *timer, void *context)
{
	struct worker *worker = context;
	worker->role->expire(worker, caa_container_of(timer, struct session, timer));
}

static void run_timers(struct worker *worker)
{
	if (atomic_load_explicit(&worker->attention, memory_order_relaxed) &&
	    atomic_exchange_explicit(&worker->attention, false, memory_order_acquire))
		worker->next_tick = worker->now;
	if (worker->now >= worker->next_tick) {
		worker->next_tick = worker->now + WORKER_TICK_NS;
		worker->icmp_left = WORKER_ICMP_PER_TICK;
		worker->role->tick(worker);
	}
	(void)timer_wheel_advance(&worker->wheel, worker->now, expire, worker, WORKER_TIMERS);
}

/* Whether the sleep before this turn ended by packets that go ahead, and nothing is in the queues behind them. A packet
 * that comes alone is on its way for hardly longer than what is done around it takes, so the turn leaves the rest, and
 * no other turn looks for more before the thread sleeps: what came meanwhile ends that sleep at once. */
static bool only_sparse(const struct worker *worker)
{
	if (event_loop_may_read(&worker->loop, EVENT_LOOP_UDP | EVENT_LOOP_TUN))
		return false;
	for (size_t i = 0; i < worker->source_count; i++) {
		if (!frame_ring_empty(worker->sources[i].ring))
			return false;
	}
	return true;
}

/* What was sent so far. */
static uint64_t sent_cost(const struct worker *worker)
{
	const _Atomic uint64_t *counters = worker->loop.stats.counters;
	return worker_cost(atomic_load_explicit(&counters[STATS_udp_tx_packets], memory_order_relaxed),
			   atomic_load_explicit(&counters[STATS_udp_tx_bytes], memory_order_relaxed));
}

HOT static size_t downlink_portion(struct worker *worker)
{
	size_t batches = worker->light ? 1 : WORKER_DOWNLINK_BATCHES, work = 0, frames = 1;
	uint64_t before = sent_cost(worker);
	for (size_t batch = 0; batch < batches && frames != 0; batch++) {
		work += frames = downlink_batch(worker);
		if (worker->fine && sent_cost(worker) - before >= WORKER_PORTION)
			break;
	}
	worker->more = worker->fine && (frames != 0 || intake_has_more(worker));
	return work;
}

HOT size_t worker_turn(struct worker *worker)
{
	owner_check(&worker->loop.owner, "worker");
	worker->now = clock_monotonic(worker->clock);
	if (intake_unsettled(worker) || downlink_unsettled(worker))
		event_loop_end_turn(&worker->loop); /* the first queues are read, to say when they are empty */
	worker->light = only_sparse(worker);
	worker->fine = worker->now - worker->went_ahead < WORKER_FINE_NS;
	if (worker->role->turn != NULL)
		worker->role->turn(worker);
	/* Timers first: after a suspend of the machine no packet may use a key that expired meanwhile. */
	run_timers(worker);
	size_t work = worker_read_inbox(worker);
	work += limits_run(worker) + initiator_run(worker);
	work += intake_batch(worker);
	work += uplink_copies(worker);
	work += downlink_portion(worker);
	send_queue_flush(&worker->send, worker->udp, &worker->loop.stats);
	retire_ended(worker);
	rcu_quiescent();
	event_loop_end_turn(&worker->loop);
	return work;
}

void worker_wait_for_room(struct worker *worker, uint64_t limit)
{
	struct pollfd writable[UDP_ADDRESSES_MAX];
	const struct udp_socket *member;
	nfds_t count = 0;
	for (size_t i = 0; (member = udp_member(worker->udp, i)) != NULL; i++) {
		if (member->full)
			writable[count++] = (struct pollfd){.fd = member->fd, .events = POLLOUT};
	}
	(void)poll(writable, count, (int)((limit + NS_PER_MS - 1) / NS_PER_MS));
}

/* Waits until the socket took what is queued, for a bounded time. False when it did not. */
static bool drain(struct worker *worker, uint64_t deadline)
{
	send_queue_flush(&worker->send, worker->udp, &worker->loop.stats);
	while (worker->send.blocked) {
		uint64_t now = clock_monotonic(worker->clock);
		if (now >= deadline)
			return false;
		worker_wait_for_room(worker, deadline - now);
		send_queue_flush(&worker->send, worker->udp, &worker->loop.stats);
	}
	return true;
}

/* What is left in the rings. At the end of the thread another worker may end later, and what it still passes on is
 * lost, like what is left in the TUN. */
static size_t downlink_rest(struct worker *worker)
{
	bool reads_tun = worker->reads_tun;
	worker->reads_tun = false;
	size_t frames = downlink_batch(worker);
	worker->reads_tun = reads_tun;
	return frames;
}

size_t worker_settle(struct worker *worker)
{
	bool blocked = worker->send.blocked;
	worker->now = clock_monotonic(worker->clock);
	size_t work = worker_read_inbox(worker) + intake_rest(worker) + uplink_copies(worker);
	work += downlink_finish_batch(worker) + downlink_rest(worker);
	send_queue_flush(&worker->send, worker->udp, &worker->loop.stats);
	retire_ended(worker);
	/* What stands behind a full socket can go now. */
	return work + (blocked && !worker->send.blocked ? 1 : 0);
}

static void run_until_ordered(struct worker *worker)
{
	while (event_loop_running(&worker->loop))
		worker_wait(worker, worker_turn(worker));
}

void worker_run(struct worker *worker)
{
	owner_set(&worker->loop.owner);
	do
		run_until_ordered(worker);
	while (event_loop_rest(&worker->loop));
	worker->now = clock_monotonic(worker->clock);
	uint64_t deadline = worker->now + WORKER_DRAIN_NS;
	/* In portions, so that each BYE finds room. */
	bool more = true;
	(void)worker_read_inbox(worker);
	(void)uplink_copies(worker);
	while (drain(worker, deadline) && more) {
		if (downlink_rest(worker) == 0)
			more = worker->role->stop(worker);
	}
	send_queue_discard(&worker->send, &worker->loop.stats);
	retire_ended(worker);
	rcu_quiescent();
	owner_clear(&worker->loop.owner);
}

static void count_sessions(struct worker *worker, int by)
{
	uint32_t count = atomic_load_explicit(&worker->session_count, memory_order_relaxed);
	atomic_store_explicit(&worker->session_count, count + (uint32_t)by, memory_order_relaxed);
}

void worker_add_session(struct worker *worker, struct session *session)
{
	owner_check(&worker->loop.owner, "list of sessions");
	owner_follow(&session->owner, &worker->loop.owner);
	session_table_insert(worker->table, session);
	session_shares_add(worker->shares, &worker->received, session->id);
	sparse_sessions_add(worker->sparse, session->id);
	cds_list_add_tail(&session->node, &worker->sessions);
	count_sessions(worker, 1);
}

void worker_end_session(struct worker *worker, struct session *session)
{
	owner_check(&session->owner, "session");
	timer_clear(&worker->wheel, &session->timer);
	limits_end(worker, session);
	initiator_end(worker, session);
	session_table_remove(worker->table, session);
	session_shares_remove(worker->shares, &worker->received, session->id);
	sparse_sessions_remove(worker->sparse, session->id);
	cds_list_del(&session->node);
	cds_list_add_tail(&session->node, &worker->ended);
	count_sessions(worker, -1);
}

void worker_set_timer(struct worker *worker, struct session *session, uint64_t due)
{
	timer_set(&worker->wheel, &session->timer, due);
}

static uint8_t *reserve_control(struct worker *worker, const struct endpoint *to, uint32_t length)
{
	uint8_t *room = send_queue_reserve(&worker->send, 0, false, to, 0, length);
	if (room == NULL && !worker->send.blocked) {
		send_queue_flush(&worker->send, worker->udp, &worker->loop.stats);
		room = send_queue_reserve(&worker->send, 0, false, to, 0, length);
	}
	return room;
}

bool worker_send_plain(struct worker *worker, const struct endpoint *to, const uint8_t *message, uint32_t length)
{
	uint8_t *room = reserve_control(worker, to, length);
	if (room == NULL)
		return false;
	memcpy(room, message, length);
	message_count_sent(&worker->loop.stats, message);
	return true;
}

/* An empty KEEPALIVE every protocol has. */
static bool has_message(const struct dialect *dialect, enum wire_type type, uint32_t length)
{
	return dialect->sends_control || (type == WIRE_KEEPALIVE && length == 0);
}

bool worker_send_control(struct worker *worker, struct session *session, enum wire_type type, const uint8_t *payload,
			 uint32_t length)
{
	struct transport_key *key = session->current;
	if (key == NULL || transport_key_spent(key) || !has_message(key->dialect, type, length))
		return false;
	uint32_t size = key->dialect->overhead + length;
	if (!session_may_send(session, size, 0))
		return false;
	uint8_t *room = reserve_control(worker, &session->endpoint, size);
	if (room == NULL)
		return false;

	transport_seal(worker->aead, key, session->id, type, payload, length, room);
	session->sent = worker->now;
	if (session->path_deadline == 0)
		session->keepalive_owed_since = 0; /* else it may have reached another host */
	wire_count_sent(&worker->loop.stats, type);
	return true;
}
