// SPDX-License-Identifier: Apache-2.0
#include "workers/intake.h"

#include <stdlib.h>

#include "core/base/hot.h"
#include "workers/uplink.h"
#include "workers/worker.h"

enum {
	INTAKE_MESSAGES = 16, /* of a batch: trains of up to 64 KiB each, or single datagrams */
	INTAKE_SPARSE = 8,    /* of a batch from the second socket: datagrams, or short trains */
	INTAKE_LONE = 2,      /* of the first one after a sleep: each place that is offered costs some cache misses */
	INTAKE_AHEAD = 2048,  /* messages from there before the batch that was read: all that the kernel lets through in
			       * a window (core/base/sparse_queue.h) */
	INTAKE_STRIDE = UDP_MESSAGE_MAX + 1 + 4096 +
			5 * CACHE_LINE, /* staggered, so that buffers do not share cache sets */
};

#define INTAKE_WAIT_MAX_NS (10 * NS_PER_S) /* longer than anything waits in a socket that is read */

struct intake {
	struct udp_message messages[INTAKE_MESSAGES];
	size_t held;	/* of them, received and not all handled */
	size_t next;	/* of those held, the first that is not */
	uint64_t came;	/* when they were received, stage_now() */
	uint64_t began; /* when they were received, monotonic ns; 0: more were left */
	uint64_t last;	/* when a batch with messages began, monotonic ns */
	struct udp_message sparse[INTAKE_SPARSE];
	struct sparse_reader reader;
	uint8_t *buffers;
};

int intake_init(struct worker *worker)
{
	struct intake *intake = calloc(1, sizeof *intake);
	if (intake == NULL)
		return -ENOMEM;
	worker->intake = intake;
	size_t count = INTAKE_MESSAGES + (worker->sparse != NULL ? INTAKE_SPARSE : 0);
	intake->buffers = aligned_alloc(CACHE_LINE, count * INTAKE_STRIDE);
	if (intake->buffers == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < INTAKE_MESSAGES; i++)
		intake->messages[i].data = intake->buffers + i * INTAKE_STRIDE;
	for (size_t i = INTAKE_MESSAGES; i < count; i++)
		intake->sparse[i - INTAKE_MESSAGES].data = intake->buffers + i * INTAKE_STRIDE;
	return 0;
}

void intake_deinit(struct worker *worker)
{
	if (worker->intake == NULL)
		return;
	free(worker->intake->buffers);
	free(worker->intake);
}

/* How long the oldest message waited in the socket until the receive call began. Nothing is recorded where that is not
 * known: the clock was set meanwhile, or the message came before stamps were switched on, and its stamp is of the call.
 */
static void note_wait(struct worker *worker, uint64_t stamp, uint64_t wall)
{
	uint64_t waited = wall - stamp;
	if (stamp != 0 && wall >= stamp && waited <= INTAKE_WAIT_MAX_NS)
		stage_waited(&worker->loop.stages, STAGE_SOCKET_WAIT, waited);
}

/* How many there were. */
HOT static size_t receive(struct worker *worker, struct udp_socket *socket, struct udp_message *messages, size_t most)
{
	bool stamps = atomic_load_explicit(&socket->stamps, memory_order_relaxed);
	uint64_t wall = unlikely(stamps) ? clock_wall(worker->clock) : 0;
	int received = socket->ops->receive(socket, messages, most);
	if (received <= 0) {
		stats_add(&worker->loop.stats, empty_calls, 1);
		return 0;
	}
	stats_add(&worker->loop.stats, udp_rx_calls, 1);
	stage_lap(&worker->loop.stages, STAGE_UDP_RECV);
	if (unlikely(stamps))
		note_wait(worker, messages[0].stamp, wall);
	return (size_t)received;
}

/* Tells the kernel what is out of the socket's queue, and whether that is empty. */
static void account(struct worker *worker, const struct udp_message *messages, size_t count)
{
	if (worker->shares == NULL)
		return;
	for (size_t i = 0; i < count; i++)
		session_shares_took(worker->shares, &worker->received, &messages[i]);
	queue_shares_publish(&worker->received, worker->now, count < INTAKE_MESSAGES);
}

static void receive_batch(struct worker *worker)
{
	struct intake *intake = worker->intake;
	intake->began = 0;
	if (!event_loop_may_read(&worker->loop, EVENT_LOOP_UDP))
		return;
	intake->came = stage_now(&worker->loop.stages);
	intake->held = receive(worker, worker->udp, intake->messages, INTAKE_MESSAGES);
	account(worker, intake->messages, intake->held);
	if (worker->sparse != NULL)
		sparse_reader_look(&intake->reader, worker->sparse_queue, intake->messages, intake->held);
	intake->began = intake->held < INTAKE_MESSAGES ? worker->now : 0;
	if (intake->held != 0)
		intake->last = worker->now;
}

/* --- the second socket -------------------------------------------------------------------------------------------- */

/* Until it is empty, or for once too much is there: then the batch waits, so that no session is reordered. Returns how
 * many messages there were. */
static size_t take_sparse(struct worker *worker, uint32_t *datagrams, bool *empty)
{
	struct intake *intake = worker->intake;
	size_t messages = 0, most = worker->light ? INTAKE_LONE : INTAKE_SPARSE;
	*empty = true;
	if (!sparse_reader_waiting(&intake->reader, worker->sparse_queue) &&
	    likely(!event_loop_found(&worker->loop, EVENT_LOOP_UDP_SPARSE)))
		return 0;
	do {
		size_t received = receive(worker, worker->sparse_udp, intake->sparse, most);
		*empty = received < most;
		most = INTAKE_SPARSE;
		messages += received;
		intake->reader.taken += received;
		uint32_t count = uplink_trains(worker, intake->sparse, received);
		stats_add(&worker->loop.stats, sparse_datagrams, count);
		*datagrams += count;
	} while (!*empty && messages < INTAKE_AHEAD);
	if (messages != 0)
		worker->went_ahead = worker->now;
	if (*empty)
		sparse_reader_settle(&intake->reader, worker->sparse_queue, worker->now);
	return messages;
}

/* Another batch than the last one with messages, later than it may take a datagram to be in the queue. */
HOT bool intake_unsettled(const struct worker *worker)
{
	return queue_shares_uneven(&worker->received) ||
	       (worker->sparse != NULL &&
		worker->intake->last > atomic_load_explicit(&worker->sparse_queue->drained, memory_order_relaxed));
}

HOT bool intake_has_more(const struct worker *worker)
{
	return worker->intake->held != 0;
}

/* Handles the next ones of the batch. Returns how many. */
HOT static size_t take_portion(struct worker *worker, uint32_t *datagrams)
{
	struct intake *intake = worker->intake;
	size_t from = intake->next;
	uint64_t most = worker->fine ? WORKER_PORTION : UINT64_MAX;
	for (uint64_t cost = 0; intake->next < intake->held && cost < most; intake->next++) {
		const struct udp_message *train = &intake->messages[intake->next];
		uint32_t count = train->segment_size != 0 ? train->length / train->segment_size : 1;
		cost += worker_cost(count, train->length);
	}
	*datagrams += uplink_trains(worker, &intake->messages[from], intake->next - from);
	return intake->next - from;
}

static void settle_batch(struct worker *worker)
{
	struct intake *intake = worker->intake;
	intake->held = intake->next = 0;
	if (worker->sparse != NULL)
		sparse_reader_handled(&intake->reader, worker->sparse_queue, intake->began);
}

/* A batch of the first socket is read, what there is in the second one is handled then, and the batch last. Where turns
 * are short, a portion of it each turn: nothing of the sessions and flows that go ahead is in the batch
 * (core/base/sparse_queue.h). */
HOT size_t intake_batch(struct worker *worker)
{
	struct intake *intake = worker->intake;
	uint32_t datagrams = 0;
	size_t messages = 0;
	bool ahead = true;
	owner_check(&worker->loop.owner, "receive buffers");
	if (intake->held == 0 && !event_loop_may_read(&worker->loop, EVENT_LOOP_UDP | EVENT_LOOP_UDP_SPARSE))
		return 0;
	stage_begin(&worker->loop.stages);
	if (intake->held == 0)
		receive_batch(worker);
	if (worker->sparse != NULL)
		messages = take_sparse(worker, &datagrams, &ahead);
	stage_leave(&worker->loop.stages, STAGE_RESIDENCE_UP, datagrams);
	datagrams = 0;
	if (ahead) {
		messages += take_portion(worker, &datagrams);
		stage_began_before(&worker->loop.stages, intake->came);
		if (intake->next == intake->held)
			settle_batch(worker);
	}
	if (messages == 0)
		stage_cancel(&worker->loop.stages);
	else
		stage_end(&worker->loop.stages, STAGE_RESIDENCE_UP, datagrams);
	return messages;
}

size_t intake_rest(struct worker *worker)
{
	struct intake *intake = worker->intake;
	size_t messages = intake->held - intake->next;
	if (messages == 0)
		return 0;
	(void)uplink_trains(worker, &intake->messages[intake->next], messages);
	settle_batch(worker);
	return messages;
}
