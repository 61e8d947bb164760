// SPDX-License-Identifier: Apache-2.0
#include "workers/worker.h"

#include <poll.h>
#include <sodium.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define WORKER_DRAIN_NS (500 * NS_PER_MS) /* at the end, for data and BYEs to leave */

enum {
	WORKER_COALESCE_PACKETS = 1024,
	WORKER_DOWNLINK_BATCHES = 4, /* a turn: about as many bytes as one uplink batch brings */
	/* The ciphers may read a little past a packet's end. */
	WORKER_FRAME_SIZE = (TUN_FRAME_MAX + AEAD_INPUT_SLACK + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE,
};

static int watch(struct worker *worker, int operation, int fd, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.fd = fd};
	return epoll_ctl(worker->epoll_fd, operation, fd, &event) == 0 ? 0 : -errno;
}

static int open_poll(struct worker *worker)
{
	worker->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	worker->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (worker->epoll_fd < 0 || worker->wake_fd < 0)
		return -errno;
	int result = watch(worker, EPOLL_CTL_ADD, worker->udp->fd, EPOLLIN);
	if (result == 0)
		result = watch(worker, EPOLL_CTL_ADD, worker->tun->fd, EPOLLIN);
	if (result == 0)
		result = watch(worker, EPOLL_CTL_ADD, worker->wake_fd, EPOLLIN);
	return result;
}

struct worker *worker_new(const struct worker_params *params, struct error *error)
{
	struct worker *worker = aligned_alloc(CACHE_LINE, sizeof *worker);
	if (worker == NULL) {
		error_set(error, -ENOMEM, "worker: out of memory");
		return NULL;
	}
	memset(worker, 0, sizeof *worker);
	worker->udp = params->udp;
	worker->tun = params->tun;
	worker->aead = params->aead;
	worker->clock = params->clock;
	worker->role = params->role;
	worker->role_state = params->role_state;
	worker->epoll_fd = worker->wake_fd = -1;
	CDS_INIT_LIST_HEAD(&worker->sessions);
	CDS_INIT_LIST_HEAD(&worker->ended);
	stage_recorder_init(&worker->stages, params->stage_sampling);

	uint32_t random_start;
	randombytes_buf(&random_start, sizeof random_start);
	worker->frame = aligned_alloc(CACHE_LINE, WORKER_FRAME_SIZE);
	worker->coalescer = coalescer_new(WORKER_COALESCE_PACKETS, params->tun->offloads);
	int result = worker->frame == NULL || worker->coalescer == NULL ? -ENOMEM : 0;
	if (result == 0)
		result = session_table_init(&worker->table, params->max_sessions, random_start);
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
	worker->now = clock_monotonic(worker->clock);
	worker->next_tick = worker->now;
	return worker;
}

static void free_sessions(struct cds_list_head *list)
{
	struct session *session, *following;
	cds_list_for_each_entry_safe(session, following, list, node)
	{
		cds_list_del(&session->node);
		session_free(session);
	}
}

void worker_free(struct worker *worker)
{
	if (worker == NULL)
		return;
	free_sessions(&worker->sessions);
	free_sessions(&worker->ended);
	if (worker->wake_fd >= 0)
		close(worker->wake_fd);
	if (worker->epoll_fd >= 0)
		close(worker->epoll_fd);
	uplink_deinit(worker);
	send_queue_deinit(&worker->send);
	session_table_deinit(&worker->table);
	coalescer_free(worker->coalescer);
	free(worker->frame);
	free(worker);
}

void worker_wake(struct worker *worker)
{
	uint64_t one = 1;
	ssize_t written = write(worker->wake_fd, &one, sizeof one);
	(void)written; /* a full eventfd is awake already */
}

void worker_stop(struct worker *worker)
{
	atomic_store_explicit(&worker->stop, true, memory_order_release);
	worker_wake(worker);
}

size_t worker_turn(struct worker *worker)
{
	worker->now = clock_monotonic(worker->clock);
	worker->turns++;
	/* Timers first: after a sleep of the machine no packet may meet a key that died meanwhile. */
	if (worker->now >= worker->next_tick) {
		worker->next_tick = worker->now + WORKER_TICK_NS;
		worker->icmp_left = WORKER_ICMP_PER_TICK;
		worker->role->tick(worker);
	}
	size_t work = uplink_batch(worker);
	for (size_t batch = 0, frames = 1; batch < WORKER_DOWNLINK_BATCHES && frames != 0; batch++)
		work += frames = downlink_batch(worker);
	send_queue_flush(&worker->send, worker->udp, &worker->stats);
	free_sessions(&worker->ended);
	return work;
}

/* While the socket takes no more, the TUN is left alone, so its queue and then the senders behind it feel the
 * congestion. */
static void choose_events(struct worker *worker)
{
	bool blocked = worker->send.blocked;
	if (worker->polls_writable == blocked)
		return;
	worker->polls_writable = blocked;
	(void)watch(worker, EPOLL_CTL_MOD, worker->udp->fd, EPOLLIN | (blocked ? EPOLLOUT : 0));
	/* Out of the set, not only without events: its errors would be reported all the same. */
	(void)watch(worker, blocked ? EPOLL_CTL_DEL : EPOLL_CTL_ADD, worker->tun->fd, EPOLLIN);
}

static void sleep_until_due(struct worker *worker)
{
	choose_events(worker);
	uint64_t now = clock_monotonic(worker->clock);
	uint64_t wait = worker->next_tick > now ? worker->next_tick - now : 0;
	struct epoll_event events[4];
	stats_add(&worker->stats, sleeps, 1);
	int ready = epoll_wait(worker->epoll_fd, events, ARRAY_SIZE(events), (int)((wait + NS_PER_MS - 1) / NS_PER_MS));
	for (int i = 0; i < ready; i++) {
		uint64_t count;
		if (events[i].data.fd == worker->wake_fd && read(worker->wake_fd, &count, sizeof count) > 0)
			worker->next_tick = 0; /* who wakes us has something for the role */
	}
}

/* Waits until the socket took what is queued, for a bounded time. False when it did not. */
static bool drain(struct worker *worker, uint64_t deadline)
{
	send_queue_flush(&worker->send, worker->udp, &worker->stats);
	while (worker->send.blocked) {
		uint64_t now = clock_monotonic(worker->clock);
		if (now >= deadline)
			return false;
		struct pollfd writable = {.fd = worker->udp->fd, .events = POLLOUT};
		(void)poll(&writable, 1, (int)((deadline - now + NS_PER_MS - 1) / NS_PER_MS));
		send_queue_flush(&worker->send, worker->udp, &worker->stats);
	}
	return true;
}

void worker_run(struct worker *worker)
{
	while (!atomic_load_explicit(&worker->stop, memory_order_acquire) &&
	       atomic_load_explicit(&worker->tun_error, memory_order_relaxed) == 0) {
		if (worker_turn(worker) == 0)
			sleep_until_due(worker);
	}
	worker->now = clock_monotonic(worker->clock);
	uint64_t deadline = worker->now + WORKER_DRAIN_NS;
	/* In portions, so that each BYE finds room. */
	bool more = true;
	while (drain(worker, deadline) && more)
		more = worker->role->stop(worker);
	send_queue_discard(&worker->send, &worker->stats);
	free_sessions(&worker->ended);
}

void worker_add_session(struct worker *worker, struct session *session)
{
	session_table_insert(&worker->table, session);
	cds_list_add_tail(&session->node, &worker->sessions);
	atomic_store_explicit(&worker->session_count, worker->table.count, memory_order_relaxed);
}

void worker_end_session(struct worker *worker, struct session *session)
{
	session_table_remove(&worker->table, session);
	cds_list_del(&session->node);
	cds_list_add_tail(&session->node, &worker->ended);
	atomic_store_explicit(&worker->session_count, worker->table.count, memory_order_relaxed);
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
