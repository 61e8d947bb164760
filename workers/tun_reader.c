// SPDX-License-Identifier: Apache-2.0
#include "workers/tun_reader.h"

#include <stdlib.h>

#include "core/base/hot.h"
#include "workers/frame_stats.h"

enum {
	TUN_READER_BYTES = 1 << 19, /* of a batch, about: half the least share of large frames, so that it is not used
				     * up before the worker sees any */
	TUN_READER_FRAMES = 32,	    /* of a batch: published and woken for once */
	TUN_READER_SPARSE = 2048,   /* of sparse flows, a turn: all that the kernel lets through in a window */
};
#define TUN_READER_WINDOW_NS (10 * NS_PER_MS)
#define TUN_READER_MARK_NS   (250 * NS_PER_US) /* from one look at all workers' rings to the next */

static void push_frame(struct tun_reader *reader, struct frame_rings *rings, uint8_t *frame, uint32_t length,
		       uint64_t now)
{
	struct inner packet;
	if (unlikely(!frame_parse(&packet, frame, length))) {
		frame_stats_malformed(&reader->loop.stats, length);
		return;
	}
	if (rings == &reader->dispatch.sparse)
		frame_stats_sparse(&reader->loop.stats, &packet);
	uint32_t id = registry_route(reader->params.registry, packet.version, inner_destination_bytes(&packet));
	enum drop_reason reason = DROP_OUT_NO_SESSION;
	if (likely(id != 0))
		reason = frame_dispatch_push(&reader->dispatch, rings, id, &packet, now);
	if (unlikely(reason != DROP_NONE))
		frame_stats_drop(&reader->loop.stats, &packet, reason);
}

/* A batch of one of its queues. *empty: there was no more. */
HOT static size_t read_batch(struct tun_reader *reader, struct tun_queue *queue, uint64_t now, bool *empty)
{
	bool sparse = queue != reader->params.tun;
	struct frame_rings *rings = sparse ? &reader->dispatch.sparse : &reader->dispatch.all;
	size_t frames = 0, bytes = 0;
	for (; frames < TUN_READER_FRAMES && bytes < TUN_READER_BYTES; frames++) {
		uint8_t *frame = frame_pool_buffer(rings->pool);
		struct iovec iov = {.iov_base = frame, .iov_len = TUN_FRAME_MAX};
		int got = queue->ops->read(queue, &iov, 1);
		if (got <= 0) {
			stats_add(&reader->loop.stats, empty_calls, 1);
			*empty = true;
			if (got < 0)
				event_loop_fail(&reader->loop, got);
			break;
		}
		stage_lap(&reader->loop.stages, STAGE_TUN_READ);
		uint32_t length = (uint32_t)iov.iov_len;
		bytes += length;
		if (!sparse)
			destination_shares_took(queue->shares, &reader->tally, frame, length);
		push_frame(reader, rings, frame, length, now);
		stage_lap(&reader->loop.stages, STAGE_DISPATCH);
	}
	return frames;
}

/* All of the second queue, published as it comes. False: there is more. */
static bool read_sparse(struct tun_reader *reader, uint64_t now, size_t *frames)
{
	bool empty = false;
	for (size_t count = 0; !empty && count < TUN_READER_SPARSE; count += TUN_READER_FRAMES) {
		*frames += read_batch(reader, reader->params.tun->sparse, now, &empty);
		frame_dispatch_publish(&reader->dispatch, &reader->dispatch.sparse, &reader->loop.stats);
	}
	return empty;
}

/* Tells the kernel when the first queue was empty for flows that become sparse: only once all workers have handled what
 * came out of it. */
static void publish_emptiness(struct tun_reader *reader, bool empty, uint64_t now)
{
	if (empty && reader->emptied == 0 && now - reader->marked >= TUN_READER_MARK_NS) {
		reader->emptied = reader->marked = now;
		frame_dispatch_mark(&reader->dispatch);
	}
	if (reader->emptied != 0 && frame_dispatch_handled(&reader->dispatch)) {
		sparse_queue_drained(reader->params.tun->shared, reader->emptied);
		reader->emptied = 0;
	}
}

/* Tells the kernel what is out of the first queue: all, before the thread sleeps. */
static void account(struct tun_reader *reader, bool sleeps, bool empty, uint64_t now)
{
	if (reader->tally.queue == NULL)
		return;
	if (sleeps)
		reader->tally.published = 0;
	queue_shares_publish(&reader->tally, now, empty);
}

/* A frame of the first queue came later than what the kernel was told of. */
static bool unsettled(const struct tun_reader *reader)
{
	const struct tun_queue *queue = reader->params.tun;
	return queue->sparse != NULL &&
	       reader->last > atomic_load_explicit(&queue->shared->drained, memory_order_relaxed);
}

static void publish_batch(struct tun_reader *reader)
{
	frame_dispatch_publish(&reader->dispatch, &reader->dispatch.all, &reader->loop.stats);
	reader->holds = false;
}

/* A batch of the first queue, then all of the second, which is published first; where that has too much for a turn, the
 * batch waits for the next, so that no flow is reordered. */
HOT size_t tun_reader_turn(struct tun_reader *reader)
{
	struct tun_queue *queue = reader->params.tun;
	size_t frames = 0;
	if (unsettled(reader))
		event_loop_end_turn(&reader->loop); /* the first queue is read, to say when it is empty */
	/* After a sleep that only the second queue ended there is no batch, and no other turn before the next sleep. */
	reader->light = !event_loop_may_read(&reader->loop, EVENT_LOOP_TUN);
	bool empty = false, read = !reader->holds && !reader->light;
	owner_check(&reader->loop.owner, "TUN reader");
	uint64_t now = clock_monotonic(reader->params.clock);
	stage_begin(&reader->loop.stages);
	if (read)
		frames = read_batch(reader, queue, now, &empty);
	if (frames != 0)
		reader->last = now;
	bool behind = reader->holds || frames != 0; /* a batch, which may have come after what is in the second queue */
	if (queue->sparse != NULL && (behind || event_loop_may_read(&reader->loop, EVENT_LOOP_TUN_SPARSE)))
		reader->holds = !read_sparse(reader, now, &frames);
	if (frames == 0)
		stage_cancel(&reader->loop.stages);
	if (!reader->holds)
		publish_batch(reader);
	if (read)
		account(reader, frames == 0, empty, now);
	if (queue->sparse != NULL)
		publish_emptiness(reader, empty && !reader->holds, now);
	rcu_quiescent();
	event_loop_end_turn(&reader->loop);
	return frames;
}

/* --- the thread --------------------------------------------------------------------------------------------------- */

/* Workers poll while `busy` is set, so the wait is bounded then: it is cleared soon after the last frame. */
static void wait_for_frames(struct tun_reader *reader)
{
	bool busy = atomic_load_explicit(&reader->busy, memory_order_relaxed);
	uint64_t before = clock_monotonic(reader->params.clock);
	event_loop_prepare_wait(&reader->loop);
	if (event_loop_stopped(&reader->loop)) {
		event_loop_cancel_wait(&reader->loop);
	} else {
		stats_add(&reader->loop.stats, sleeps, 1);
		uint64_t most = busy ? TUN_READER_WINDOW_NS : EVENT_LOOP_FOREVER;
		event_loop_wait(&reader->loop, queue_shares_uneven(&reader->tally) ? QUEUE_SHARES_LOOK_NS : most);
	}
	uint64_t slept = clock_monotonic(reader->params.clock) - before;
	reader->asleep += slept;
	hot_woke(slept);
}

/* Sets `busy` by how long the thread slept in the last window, so that workers poll instead of being woken. */
static void estimate_load(struct tun_reader *reader)
{
	uint64_t now = clock_monotonic(reader->params.clock);
	uint64_t length = now - reader->window;
	if (length < TUN_READER_WINDOW_NS)
		return;
	bool busy = reader->asleep < length / 2;
	if (busy != atomic_load_explicit(&reader->busy, memory_order_relaxed))
		atomic_store_explicit(&reader->busy, busy, memory_order_relaxed);
	reader->window = now;
	reader->asleep = 0;
}

void tun_reader_run(struct tun_reader *reader)
{
	owner_set(&reader->loop.owner);
	reader->window = clock_monotonic(reader->params.clock);
	do {
		while (event_loop_running(&reader->loop)) {
			size_t frames = tun_reader_turn(reader);
			if (frames != 0)
				event_loop_yield(&reader->loop, false);
			if (frames == 0 || reader->light)
				wait_for_frames(reader);
			estimate_load(reader);
		}
		publish_batch(reader);
		atomic_store_explicit(&reader->busy, false, memory_order_relaxed);
	} while (event_loop_rest(&reader->loop));
	owner_clear(&reader->loop.owner);
}

struct tun_reader *tun_reader_new(const struct tun_reader_params *params, struct error *error)
{
	struct tun_reader *reader = aligned_alloc(CACHE_LINE, sizeof *reader);
	if (reader == NULL) {
		error_set(error, -ENOMEM, "TUN reader: out of memory");
		return NULL;
	}
	memset(reader, 0, sizeof *reader);
	reader->params = *params;
	reader->tally = destination_shares_tally(params->tun->shares, params->tun->index);
	int result = event_loop_init(&reader->loop, params->stage_sampling, params->ticks_per_second);
	if (result == 0)
		result = event_loop_watch(&reader->loop, params->tun->fd, EVENT_LOOP_TUN, EPOLLIN);
	bool sparse = params->tun->sparse != NULL;
	if (result == 0 && sparse)
		result = event_loop_watch(&reader->loop, params->tun->sparse->fd, EVENT_LOOP_TUN_SPARSE, EPOLLIN);
	if (result == 0)
		result = frame_dispatch_init(&reader->dispatch, &params->registry->table.sharding, params->wakers,
					     sparse);
	if (result != 0) {
		error_set(error, result, "TUN reader: %s", strerror(-result));
		tun_reader_free(reader);
		return NULL;
	}
	frame_dispatch_own(&reader->dispatch, &reader->loop.owner);
	return reader;
}

void tun_reader_free(struct tun_reader *reader)
{
	if (reader == NULL)
		return;
	event_loop_deinit(&reader->loop);
	frame_dispatch_deinit(&reader->dispatch);
	free(reader);
}
