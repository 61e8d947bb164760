// SPDX-License-Identifier: Apache-2.0
#include "workers/tun_reader.h"

#include <stdlib.h>
#include <sys/epoll.h>

#include "workers/downlink.h"

enum {
	TUN_READER_BYTES = 1 << 19,   /* of a batch, about: half the least share of large frames, so that it is not used
				       * up   before the worker sees any */
	TUN_READER_FRAMES = 32,	      /* of a batch: published and woken for once */
	TUN_READER_RING = 1024,	      /* frames that a worker can be behind */
	TUN_READER_SLOTS_LEAST = 16,  /* large frames that a worker can be behind, of many workers ... */
	TUN_READER_SLOTS_MOST = 64,   /* ... and of few */
	TUN_READER_SLOTS_WHOLE = 256, /* ... so that they have about so many together */
};
enum { TUN_READER_WINDOW_MS = 10 };
#define TUN_READER_WINDOW_NS (TUN_READER_WINDOW_MS * NS_PER_MS)

static enum drop_reason hand_on(struct tun_reader *reader, uint8_t *frame, uint32_t length, uint64_t now)
{
	const struct registry *registry = reader->params.registry;
	struct inner inner;
	if (!downlink_parse(&inner, frame, length))
		return DROP_OUT_MALFORMED;
	uint32_t id = registry_route(registry, inner.version, inner_destination_bytes(&inner));
	if (id == 0)
		return DROP_OUT_NO_SESSION;
	uint32_t worker = session_shard(&registry->table.sharding, id);
	if (!frame_pool_push(reader->pool, worker, length, id, now))
		return DROP_OUT_RING;
	reader->touched[worker / 64] |= 1ull << worker % 64;
	return DROP_NONE;
}

/* Shows each worker what it got, and wakes those who sleep. */
static void publish(struct tun_reader *reader)
{
	uint32_t words = (reader->params.registry->table.sharding.workers + 63) / 64;
	for (uint32_t word = 0; word < words; word++) {
		for (; reader->touched[word] != 0; reader->touched[word] &= reader->touched[word] - 1) {
			uint32_t worker = word * 64 + (uint32_t)__builtin_ctzll(reader->touched[word]);
			if (frame_pool_publish(reader->pool, worker) && waker_wake(reader->params.wakers[worker]))
				stats_add(&reader->stats, wakes, 1);
		}
	}
}

size_t tun_reader_turn(struct tun_reader *reader)
{
	size_t frames = 0, bytes = 0;
	owner_check(&reader->owner, "TUN reader");
	uint64_t now = clock_monotonic(reader->params.clock);
	stage_begin(&reader->stages);
	for (; frames < TUN_READER_FRAMES && bytes < TUN_READER_BYTES; frames++) {
		uint8_t *frame = frame_pool_buffer(reader->pool);
		struct iovec iov = {.iov_base = frame, .iov_len = TUN_FRAME_MAX};
		int got = reader->params.tun->ops->read(reader->params.tun, &iov, 1);
		if (got <= 0) {
			stats_add(&reader->stats, empty_calls, 1);
			if (got < 0)
				atomic_store_explicit(&reader->error, got, memory_order_relaxed);
			break;
		}
		stage_lap(&reader->stages, STAGE_TUN_READ);
		uint32_t length = (uint32_t)iov.iov_len;
		bytes += length;
		enum drop_reason reason = hand_on(reader, frame, length, now);
		if (unlikely(reason != DROP_NONE))
			downlink_drop(&reader->stats, frame, length, reason);
		stage_lap(&reader->stages, STAGE_DISPATCH);
	}
	if (frames == 0)
		stage_cancel(&reader->stages);
	publish(reader);
	rcu_quiescent();
	return frames;
}

/* --- the thread ------------------------------------------------------------------------------------------------------
 */

/* Workers nap while we are busy, so that is not left standing when nothing comes any more. */
static void wait_for_frames(struct tun_reader *reader)
{
	struct epoll_event events[2];
	int timeout = atomic_load_explicit(&reader->busy, memory_order_relaxed) ? TUN_READER_WINDOW_MS : -1;
	uint64_t before = clock_monotonic(reader->params.clock);
	waker_prepare(&reader->waker);
	bool woken = false;
	if (!atomic_load_explicit(&reader->stop, memory_order_relaxed)) {
		stats_add(&reader->stats, sleeps, 1);
		rcu_offline();
		int ready = epoll_wait(reader->epoll_fd, events, ARRAY_SIZE(events), timeout);
		rcu_online();
		for (int i = 0; i < ready; i++)
			woken |= events[i].data.fd == reader->waker.fd;
	}
	waker_done(&reader->waker, woken);
	reader->asleep += clock_monotonic(reader->params.clock) - before;
}

/* Says whether we came by often in the last window, so that workers can look by themselves. */
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
	owner_set(&reader->owner);
	reader->window = clock_monotonic(reader->params.clock);
	while (!atomic_load_explicit(&reader->stop, memory_order_acquire) &&
	       atomic_load_explicit(&reader->error, memory_order_relaxed) == 0) {
		if (tun_reader_turn(reader) == 0)
			wait_for_frames(reader);
		estimate_load(reader);
	}
	atomic_store_explicit(&reader->busy, false, memory_order_relaxed);
	owner_clear(&reader->owner);
}

void tun_reader_stop(struct tun_reader *reader)
{
	atomic_store_explicit(&reader->stop, true, memory_order_release);
	(void)waker_wake(&reader->waker);
}

static int open_poll(struct tun_reader *reader)
{
	reader->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (reader->epoll_fd < 0)
		return -errno;
	int result = waker_init(&reader->waker);
	int fds[] = {reader->waker.fd, reader->params.tun->fd};
	for (size_t i = 0; result == 0 && i < ARRAY_SIZE(fds); i++) {
		struct epoll_event event = {.events = EPOLLIN, .data.fd = fds[i]};
		result = epoll_ctl(reader->epoll_fd, EPOLL_CTL_ADD, fds[i], &event) == 0 ? 0 : -errno;
	}
	return result;
}

/* Few workers may be further behind than many: memory that is touched stays about the same. */
static uint32_t slots_per_worker(uint32_t workers)
{
	uint32_t slots = TUN_READER_SLOTS_WHOLE / workers;
	return slots < TUN_READER_SLOTS_LEAST  ? TUN_READER_SLOTS_LEAST
	       : slots > TUN_READER_SLOTS_MOST ? TUN_READER_SLOTS_MOST
					       : slots;
}

static int open_pool(struct tun_reader *reader)
{
	uint32_t workers = reader->params.registry->table.sharding.workers;
	struct frame_pool_params pool = {
		.workers = workers, .slots_per_worker = slots_per_worker(workers), .ring_entries = TUN_READER_RING};
	reader->pool = frame_pool_new(&pool);
	reader->touched = calloc((workers + 63) / 64, sizeof *reader->touched);
	return reader->pool != NULL && reader->touched != NULL ? 0 : -ENOMEM;
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
	reader->epoll_fd = reader->waker.fd = -1;
	stage_recorder_init(&reader->stages, params->stage_sampling, params->ticks_per_second);
	int result = open_pool(reader);
	if (result == 0)
		result = open_poll(reader);
	if (result != 0) {
		error_set(error, result, "TUN reader: %s", strerror(-result));
		tun_reader_free(reader);
		return NULL;
	}
	owner_follow(&reader->stats.owner, &reader->owner);
	owner_follow(&reader->stages.owner, &reader->owner);
	frame_pool_own(reader->pool, &reader->owner);
	return reader;
}

void tun_reader_free(struct tun_reader *reader)
{
	if (reader == NULL)
		return;
	waker_deinit(&reader->waker);
	if (reader->epoll_fd >= 0)
		close(reader->epoll_fd);
	frame_pool_free(reader->pool);
	free(reader->touched);
	free(reader);
}
