// SPDX-License-Identifier: Apache-2.0
#include "workers/tun_reader.h"

#include <stdlib.h>

#include "workers/frame_stats.h"

enum {
	TUN_READER_BYTES = 1 << 19, /* of a batch, about: half the least share of large frames, so that it is not used
				     * up before the worker sees any */
	TUN_READER_FRAMES = 32,	    /* of a batch: published and woken for once */
};
#define TUN_READER_WINDOW_NS (10 * NS_PER_MS)

static void read_frame(struct tun_reader *reader, uint8_t *frame, uint32_t length, uint64_t now)
{
	struct inner packet;
	if (unlikely(!frame_parse(&packet, frame, length))) {
		frame_stats_malformed(&reader->loop.stats, length);
		return;
	}
	uint32_t id = registry_route(reader->params.registry, packet.version, inner_destination_bytes(&packet));
	enum drop_reason reason = DROP_OUT_NO_SESSION;
	if (likely(id != 0))
		reason = frame_dispatch_push(&reader->dispatch, id, &packet, now);
	if (unlikely(reason != DROP_NONE))
		frame_stats_drop(&reader->loop.stats, &packet, reason);
}

size_t tun_reader_turn(struct tun_reader *reader)
{
	size_t frames = 0, bytes = 0;
	owner_check(&reader->loop.owner, "TUN reader");
	uint64_t now = clock_monotonic(reader->params.clock);
	stage_begin(&reader->loop.stages);
	for (; frames < TUN_READER_FRAMES && bytes < TUN_READER_BYTES; frames++) {
		uint8_t *frame = frame_pool_buffer(reader->dispatch.pool);
		struct iovec iov = {.iov_base = frame, .iov_len = TUN_FRAME_MAX};
		int got = reader->params.tun->ops->read(reader->params.tun, &iov, 1);
		if (got <= 0) {
			stats_add(&reader->loop.stats, empty_calls, 1);
			if (got < 0)
				event_loop_fail(&reader->loop, got);
			break;
		}
		stage_lap(&reader->loop.stages, STAGE_TUN_READ);
		uint32_t length = (uint32_t)iov.iov_len;
		bytes += length;
		read_frame(reader, frame, length, now);
		stage_lap(&reader->loop.stages, STAGE_DISPATCH);
	}
	if (frames == 0)
		stage_cancel(&reader->loop.stages);
	frame_dispatch_publish(&reader->dispatch, &reader->loop.stats);
	rcu_quiescent();
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
		event_loop_wait(&reader->loop, busy ? TUN_READER_WINDOW_NS : EVENT_LOOP_FOREVER);
	}
	reader->asleep += clock_monotonic(reader->params.clock) - before;
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
	while (event_loop_running(&reader->loop)) {
		if (tun_reader_turn(reader) == 0)
			wait_for_frames(reader);
		estimate_load(reader);
	}
	atomic_store_explicit(&reader->busy, false, memory_order_relaxed);
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
	int result = event_loop_init(&reader->loop, params->stage_sampling, params->ticks_per_second);
	if (result == 0)
		result = event_loop_watch(&reader->loop, params->tun->fd, EPOLLIN);
	if (result == 0)
		result = frame_dispatch_init(&reader->dispatch, &params->registry->table.sharding, params->wakers);
	if (result != 0) {
		error_set(error, result, "TUN reader: %s", strerror(-result));
		tun_reader_free(reader);
		return NULL;
	}
	frame_pool_own(reader->dispatch.pool, &reader->loop.owner);
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
