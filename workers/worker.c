// SPDX-License-Identifier: Apache-2.0
#include "workers/worker.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define WORKER_LOOK_NS	(5 * NS_PER_US)	  /* from one look at the descriptors to the next, before a sleep */
#define WORKER_FED_NS	(10 * NS_PER_MS)  /* how long frames of a TUN reader are remembered */
#define WORKER_DRAIN_NS (500 * NS_PER_MS) /* at the end, for data and BYEs to leave */

enum {
	WORKER_COALESCE_PACKETS = 1024,
	WORKER_DOWNLINK_BATCHES = 4, /* a turn: about as many bytes as one uplink batch brings */
	WORKER_TIMERS = 256,	     /* a turn */
	/* The ciphers may read a little past a packet's end. */
	WORKER_FRAME_SIZE = (TUN_FRAME_MAX + AEAD_INPUT_SLACK + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE,
};

static int watch(struct worker *worker, int operation, int fd, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.fd = fd};
	return epoll_ctl(worker->epoll_fd, operation, fd, &event) == 0 ? 0 : -errno;
}

static bool reads_tun(const struct worker *worker)
{
	return worker->source_count == 0;
}

static int open_poll(struct worker *worker)
{
	worker->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (worker->epoll_fd < 0)
		return -errno;
	int result = waker_init(&worker->waker);
	if (result == 0)
		result = watch(worker, EPOLL_CTL_ADD, worker->waker.fd, EPOLLIN);
	const struct udp_socket *member;
	for (size_t i = 0; result == 0 && (member = udp_member(worker->udp, i)) != NULL; i++)
		result = watch(worker, EPOLL_CTL_ADD, member->fd, EPOLLIN);
	if (result == 0 && reads_tun(worker))
		result = watch(worker, EPOLL_CTL_ADD, worker->tun->fd, EPOLLIN);
	return result;
}

static int open_downlink(struct worker *worker, size_t sources)
{
	worker->source_count = sources;
	if (sources != 0) {
		worker->sources = calloc(sources, sizeof *worker->sources);
		return worker->sources != NULL ? 0 : -ENOMEM;
	}
	worker->frame = aligned_alloc(CACHE_LINE, WORKER_FRAME_SIZE);
	return worker->frame != NULL ? 0 : -ENOMEM;
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
	worker->handover = params->handover;
	worker->copies = params->copies;
	worker->spin = params->spin;
	worker->nap = params->nap;
	stage_recorder_init(&worker->stages, params->stage_sampling, params->ticks_per_second);
	worker->now = worker->next_tick = clock_monotonic(worker->clock);
}

/* Whoever runs the worker has all of it, and its sessions. */
static void own(struct worker *worker)
{
	owner_follow(&worker->wheel.owner, &worker->owner);
	owner_follow(&worker->send.owner, &worker->owner);
	owner_follow(&worker->stats.owner, &worker->owner);
	owner_follow(&worker->stages.owner, &worker->owner);
	owner_follow(&worker->inbox.owner, &worker->owner);
	coalescer_own(worker->coalescer, &worker->owner);
	if (worker->copies != NULL)
		copy_ring_own(worker->copies, &worker->owner);
}

struct worker *worker_new(const struct worker_params *params, struct error *error)
{
	struct worker *worker = aligned_alloc(CACHE_LINE, sizeof *worker);
	if (worker == NULL) {
		error_set(error, -ENOMEM, "worker: out of memory");
		return NULL;
	}
	memset(worker, 0, sizeof *worker);
	worker->epoll_fd = worker->waker.fd = -1;
	CDS_INIT_LIST_HEAD(&worker->sessions);
	CDS_INIT_LIST_HEAD(&worker->ended);
	inbox_init(&worker->inbox, &worker->waker);
	set_params(worker, params);
	timer_wheel_init(&worker->wheel, worker->now);

	worker->coalescer = coalescer_new(WORKER_COALESCE_PACKETS, params->tun->offloads);
	int result = worker->coalescer == NULL ? -ENOMEM : 0;
	if (result == 0)
		result = open_downlink(worker, params->sources);
	if (result == 0)
		result = send_queue_init(&worker->send);
	if (result == 0)
		result = uplink_init(worker);
	if (result == 0)
		result = open_poll(worker);
	if (result != 0) {
		error_set(error, result, "worker: %s", strerror(-result));
		worker_free(worker);
		return NULL;
	}
	own(worker);
	return worker;
}

void worker_set_source(struct worker *worker, size_t index, struct frame_ring *ring, const _Atomic bool *busy)
{
	worker->sources[index] = (struct worker_source){.ring = ring, .busy = busy};
	frame_ring_own(ring, &worker->owner);
	codel_init(&worker->sources[index].codel, CODEL_TARGET_NS, CODEL_INTERVAL_NS, TUN_FRAME_MAX);
}

static void retire_ended(struct worker *worker)
{
	struct session *session, *following;
	cds_list_for_each_entry_safe(session, following, &worker->ended, node)
	{
		cds_list_del(&session->node);
		owner_clear(&session->owner);
		worker->role->retire(worker, session);
	}
}

/* Those that nobody said BYE to. */
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
	waker_deinit(&worker->waker);
	if (worker->epoll_fd >= 0)
		close(worker->epoll_fd);
	uplink_deinit(worker);
	send_queue_deinit(&worker->send);
	coalescer_free(worker->coalescer);
	free(worker->sources);
	free(worker->frame);
	free(worker);
}

void worker_wake(struct worker *worker)
{
	atomic_store_explicit(&worker->attention, true, memory_order_release);
	(void)waker_wake(&worker->waker);
}

void worker_stop(struct worker *worker)
{
	atomic_store_explicit(&worker->stop, true, memory_order_release);
	(void)waker_wake(&worker->waker);
}

size_t worker_read_inbox(struct worker *worker)
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

size_t worker_turn(struct worker *worker)
{
	owner_check(&worker->owner, "worker");
	worker->now = clock_monotonic(worker->clock);
	/* Timers first: after a sleep of the machine no packet may meet a key that died meanwhile. */
	run_timers(worker);
	size_t work = worker_read_inbox(worker);
	work += uplink_batch(worker);
	work += uplink_copies(worker);
	for (size_t batch = 0, frames = 1; batch < WORKER_DOWNLINK_BATCHES && frames != 0; batch++)
		work += frames = downlink_batch(worker);
	send_queue_flush(&worker->send, worker->udp, &worker->stats);
	retire_ended(worker);
	rcu_quiescent();
	return work;
}

/* While the socket takes no more, the TUN is left alone, so its queue and then the senders behind it feel the
 * congestion. */
static void choose_events(struct worker *worker)
{
	bool blocked = worker->send.blocked, changed = worker->polls_writable != blocked;
	if (!blocked && !changed)
		return;
	worker->polls_writable = blocked;
	const struct udp_socket *member;
	for (size_t i = 0; (member = udp_member(worker->udp, i)) != NULL; i++)
		(void)watch(worker, EPOLL_CTL_MOD, member->fd, EPOLLIN | (blocked && member->full ? EPOLLOUT : 0));
	if (!changed)
		return;
	/* Out of the set, not only without events: its errors would be reported all the same. */
	if (reads_tun(worker))
		(void)watch(worker, blocked ? EPOLL_CTL_DEL : EPOLL_CTL_ADD, worker->tun->fd, EPOLLIN);
}

static bool rings_empty(const struct worker *worker)
{
	for (size_t i = 0; i < worker->source_count; i++) {
		if (!frame_ring_empty(worker->sources[i].ring))
			return false;
	}
	return true;
}

/* What no descriptor tells of. */
static bool work_waiting(struct worker *worker)
{
	return atomic_load_explicit(&worker->stop, memory_order_relaxed) ||
	       atomic_load_explicit(&worker->attention, memory_order_relaxed) || !inbox_empty(&worker->inbox) ||
	       (worker->copies != NULL && !copy_ring_empty(worker->copies)) ||
	       (!worker->send.blocked && !rings_empty(worker));
}

/* Those who get nothing from a busy reader sleep soundly all the same. */
static bool readers_busy(const struct worker *worker)
{
	if (worker->now - worker->fed >= WORKER_FED_NS)
		return false;
	for (size_t i = 0; i < worker->source_count; i++) {
		if (atomic_load_explicit(worker->sources[i].busy, memory_order_relaxed))
			return true;
	}
	return false;
}

/* Returns whether the waker's descriptor was among what ended the wait. */
static bool wait_for_events(struct worker *worker, uint64_t ns)
{
	struct epoll_event events[4];
	struct timespec timeout = {.tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S)};
	int ready = epoll_pwait2(worker->epoll_fd, events, ARRAY_SIZE(events), &timeout, NULL);
	if (ready < 0 && errno == ENOSYS) /* before Linux 5.11 */
		ready = epoll_wait(worker->epoll_fd, events, ARRAY_SIZE(events),
				   (int)((ns + NS_PER_MS - 1) / NS_PER_MS));
	bool woken = false;
	for (int i = 0; i < ready; i++)
		woken |= events[i].data.fd == worker->waker.fd;
	return woken;
}

/* While a TUN reader comes by all the time it need not pay for waking us: we look ourselves a little later. */
static void sleep_until_due(struct worker *worker)
{
	choose_events(worker);
	uint64_t now = clock_monotonic(worker->clock);
	uint64_t due = timer_wheel_next(&worker->wheel);
	due = due < worker->next_tick ? due : worker->next_tick;
	uint64_t wait = due > now ? due - now : 0;
	bool naps = readers_busy(worker);
	if (naps)
		wait = wait < worker->nap ? wait : worker->nap;
	else
		waker_prepare(&worker->waker);
	bool woken = false;
	if (!work_waiting(worker)) {
		stats_add(&worker->stats, sleeps, 1);
		rcu_offline();
		woken = wait_for_events(worker, wait);
		rcu_online();
	}
	waker_done(&worker->waker, woken);
}

/* Whether the last turn moved data, either way. */
static bool moved_data(struct worker *worker)
{
	const _Atomic uint64_t *counters = worker->stats.counters;
	uint64_t before = worker->moved;
	worker->moved = atomic_load_explicit(&counters[STATS_tun_tx_packets], memory_order_relaxed) +
			atomic_load_explicit(&counters[STATS_udp_tx_data], memory_order_relaxed);
	return worker->moved != before;
}

/* A short look around is cheaper than to be woken, for data, of which more is likely to come. Handshakes come at their
 * own pace, and need the CPU more than we do. */
static bool still_spinning(struct worker *worker)
{
	if (worker->spin == 0)
		return false;
	if (worker->idle_since == 0)
		worker->idle_since = worker->now;
	if (worker->now - worker->idle_since >= worker->spin)
		return false;
	/* To ask the descriptors takes system calls, so they have their turn only now and then; what needs none is
	 * looked at all the time. */
	while (!work_waiting(worker) && clock_monotonic(worker->clock) - worker->now < WORKER_LOOK_NS)
		caa_cpu_relax();
	return true;
}

/* Waits until the socket took what is queued, for a bounded time. False when it did not. */
static bool drain(struct worker *worker, uint64_t deadline)
{
	send_queue_flush(&worker->send, worker->udp, &worker->stats);
	while (worker->send.blocked) {
		uint64_t now = clock_monotonic(worker->clock);
		if (now >= deadline)
			return false;
		struct pollfd writable[UDP_ADDRESSES_MAX];
		const struct udp_socket *member;
		nfds_t count = 0;
		for (size_t i = 0; (member = udp_member(worker->udp, i)) != NULL; i++) {
			if (member->full)
				writable[count++] = (struct pollfd){.fd = member->fd, .events = POLLOUT};
		}
		(void)poll(writable, count, (int)((deadline - now + NS_PER_MS - 1) / NS_PER_MS));
		send_queue_flush(&worker->send, worker->udp, &worker->stats);
	}
	return true;
}

/* What the readers, who ended before us, left in the rings. */
static bool downlink_rest(struct worker *worker)
{
	return !reads_tun(worker) && downlink_batch(worker) != 0;
}

void worker_run(struct worker *worker)
{
	owner_set(&worker->owner);
	while (!atomic_load_explicit(&worker->stop, memory_order_acquire) &&
	       atomic_load_explicit(&worker->tun_error, memory_order_relaxed) == 0) {
		size_t work = worker_turn(worker);
		if (moved_data(worker))
			worker->idle_since = 0;
		else if (work == 0 && !still_spinning(worker))
			sleep_until_due(worker);
	}
	worker->now = clock_monotonic(worker->clock);
	uint64_t deadline = worker->now + WORKER_DRAIN_NS;
	/* In portions, so that each BYE finds room. */
	bool more = true;
	(void)worker_read_inbox(worker);
	(void)uplink_copies(worker);
	while (drain(worker, deadline) && more) {
		if (!downlink_rest(worker))
			more = worker->role->stop(worker);
	}
	send_queue_discard(&worker->send, &worker->stats);
	retire_ended(worker);
	rcu_quiescent();
	owner_clear(&worker->owner);
}

static void count_sessions(struct worker *worker, int by)
{
	uint32_t count = atomic_load_explicit(&worker->session_count, memory_order_relaxed);
	atomic_store_explicit(&worker->session_count, count + (uint32_t)by, memory_order_relaxed);
}

void worker_add_session(struct worker *worker, struct session *session)
{
	owner_check(&worker->owner, "list of sessions");
	owner_follow(&session->owner, &worker->owner);
	session_table_insert(worker->table, session);
	cds_list_add_tail(&session->node, &worker->sessions);
	count_sessions(worker, 1);
}

void worker_end_session(struct worker *worker, struct session *session)
{
	owner_check(&session->owner, "session");
	timer_clear(&worker->wheel, &session->timer);
	session_table_remove(worker->table, session);
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
	uint8_t *room = send_queue_reserve(&worker->send, 0, to, 0, length);
	if (room == NULL && !worker->send.blocked) {
		send_queue_flush(&worker->send, worker->udp, &worker->stats);
		room = send_queue_reserve(&worker->send, 0, to, 0, length);
	}
	return room;
}

bool worker_send_plain(struct worker *worker, const struct endpoint *to, const uint8_t *message, uint32_t length)
{
	uint8_t *room = reserve_control(worker, to, length);
	if (room != NULL)
		memcpy(room, message, length);
	return room != NULL;
}

bool worker_send_control(struct worker *worker, struct session *session, enum wire_type type, const uint8_t *payload,
			 uint32_t length)
{
	struct transport_key *key = session->current;
	if (key == NULL || transport_key_spent(key) || !session_may_send(session, WIRE_OVERHEAD + length, 0))
		return false;
	uint8_t *room = reserve_control(worker, &session->endpoint, WIRE_OVERHEAD + length);
	if (room == NULL)
		return false;

	transport_seal(worker->aead, key, session->id, type, payload, length, room);
	session->sent = worker->now;
	if (session->path_deadline == 0)
		session->unreplied = 0; /* else it may have gone to somebody else */
	switch (type) {
	case WIRE_CLIENT_ACK:
		stats_add(&worker->stats, tx_client_ack, 1);
		break;
	case WIRE_KEEPALIVE:
		stats_add(&worker->stats, tx_keepalive, 1);
		break;
	default:
		stats_add(&worker->stats, tx_bye, 1);
	}
	return true;
}
