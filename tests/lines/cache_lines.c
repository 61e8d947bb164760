// SPDX-License-Identifier: Apache-2.0
/* While packets flow no cache line is written by two workers: every write of the library is seen (recorder.h). TAP. */
#include <malloc.h>
#include <stdlib.h>

#include "tests/harness/feed.h"
#include "tests/lines/recorder.h"
#include "tests/stress/tap.h"

enum {
	PACKETS = 2000, /* through each worker, at least, while it is watched */
	READER = LINES_THREADS - 1,
};

static void begins(int worker)
{
	lines_watch(worker >= 0 ? worker : READER);
}

static void ended(void)
{
	lines_watch(-1);
}

/* A frame belongs to the reader, then to a worker, then to the reader again, which may give its slot to another. */
static void leave_frames_out(struct tun_reader *reader)
{
	void *slots = frame_pool_buffer(reader->dispatch.all.pool); /* the first of them, as yet */
	lines_leave_out(slots, malloc_usable_size(slots));
}

/* Two writes, by one thread that says it is two. */
static struct lines_found found_after(size_t first, size_t second)
{
	static uint8_t memory[4 * CACHE_LINE] CACHE_ALIGNED;
	void *(*volatile set)(void *, int, size_t) = memset;
	lines_reset();
	lines_measure(true);
	lines_watch(1);
	set(memory + first, 1, 1);
	lines_watch(2);
	set(memory + second, 1, 1);
	lines_watch(-1);
	set(memory + 3 * CACHE_LINE, 1, 1);
	lines_measure(false);
	return lines_find(7);
}

static void prove_the_recorder(struct tap *tap)
{
	struct lines_found found = found_after(0, CACHE_LINE);
	tap_ok(tap, found.written == 2 && found.shared == 0, "two lines, one by each");
	found = found_after(0, CACHE_LINE - 1);
	tap_ok(tap, found.written == 1 && found.shared == 1, "one line, by both");
	lines_reset();
}

static void measure(struct tap *tap)
{
	struct feed_options options = {
		.workers = FEED_CLIENTS, .reader = true, .begins = begins, .ended = ended, .made = leave_frames_out};
	struct feed *feed = feed_start(&options);
	tap_ok(tap, feed != NULL, "gateway and clients are up");
	if (feed == NULL)
		return;
	bool warm = feed_wait(feed, 100);
	lines_measure(true);
	bool flowed = warm && feed_wait(feed, PACKETS);
	lines_measure(false);
	tap_ok(tap, flowed, "packets flowed through each worker");
	struct lines_found found = lines_find((1u << READER) - 1);
	printf("# workers wrote to %zu lines, two to %zu\n", found.written, found.shared);
	tap_ok(tap, found.written > 1000, "their writes were seen");
	tap_ok(tap, found.shared == 0, "no line was written by two of them");
	feed_stop(feed);
}

int main(void)
{
	struct tap tap = {0};
	prove_the_recorder(&tap);
	measure(&tap);
	return tap_done(&tap);
}
