// SPDX-License-Identifier: Apache-2.0
/* What it costs to hand something to another thread: a frame through the ring between a TUN reader and a worker, a
 * datagram through the copy ring between threads. In one thread it is the work of both sides on hot memory; with two,
 * on two CPUs, what the slower side and the lines that travel between them allow. */
#include <pthread.h>
#include <sched.h>

#include "core/base/cpu.h"
#include "perf/bench/micro/micro.h"
#include "tun/vnet.h"
#include "workers/copy_ring.h"
#include "workers/frame_ring.h"

enum {
	ITEMS = 2048, /* that pass in one call */
	SLOTS = 64,
	FRAMES = 1024,
	COPIES = 256,
	LONGEST = 1400,
	BATCH_MOST = 32,
	PATIENCE = 1000, /* polls of the other side before the CPU is yielded */
};

struct bench {
	struct frame_pool *pool;
	struct frame_ring *frames;
	struct copy_ring *copies;
	struct endpoint from;
	uint8_t datagram[LONGEST];
	uint32_t length, batch;
	_Atomic bool over;
};

/* How one kind of ring is used: up to `count` in, or out; how many. */
struct subject {
	const char *name;
	uint32_t (*push)(struct bench *bench, uint32_t count);
	uint32_t (*take)(struct bench *bench, uint32_t count);
	uint32_t lengths[3]; /* up to a 0 */
};

struct run {
	struct bench *bench;
	const struct subject *subject;
};

static void must(bool success)
{
	if (!success)
		abort();
}

static uint32_t push_frames(struct bench *bench, uint32_t count)
{
	uint32_t pushed = 0;
	while (pushed < count) {
		struct inner packet = {.data = frame_pool_buffer(bench->pool) + VNET_HEADER_SIZE,
				       .length = bench->length - VNET_HEADER_SIZE};
		packet.data[-VNET_HEADER_SIZE] = 1; /* as if it had just been read */
		if (!frame_pool_push(bench->pool, 0, &packet, 1, 0))
			break;
		pushed++;
	}
	frame_pool_publish(bench->pool, 0);
	return pushed;
}

static uint32_t take_frames(struct bench *bench, uint32_t count)
{
	const struct frame_ref *frames;
	size_t taken = frame_ring_peek(bench->frames, &frames, count);
	for (size_t i = 0; i < taken; i++)
		MICRO_KEEP(frames[i].packet.data[-VNET_HEADER_SIZE]);
	frame_ring_release(bench->frames, taken);
	return (uint32_t)taken;
}

static uint32_t push_copies(struct bench *bench, uint32_t count)
{
	uint32_t pushed = 0;
	while (pushed < count && copy_ring_push(bench->copies, &bench->from, 0, bench->datagram, bench->length))
		pushed++;
	return pushed;
}

static uint32_t take_copies(struct bench *bench, uint32_t count)
{
	uint32_t taken = 0;
	const struct udp_message *message;
	while (taken < count && (message = copy_ring_peek(bench->copies, taken)) != NULL) {
		MICRO_KEEP(message->data[0]);
		taken++;
	}
	copy_ring_pop(bench->copies, taken);
	return taken;
}

/* --- one thread --------------------------------------------------------------------------------------------------- */

static void pass(void *context)
{
	struct run *run = context;
	struct bench *bench = run->bench;
	for (uint32_t passed = 0; passed < ITEMS; passed += bench->batch) {
		must(run->subject->push(bench, bench->batch) == bench->batch);
		for (uint32_t taken = 0; taken < bench->batch;) /* the end of the ring's array cuts a batch in two */
			taken += run->subject->take(bench, bench->batch - taken);
	}
}

/* --- two threads -------------------------------------------------------------------------------------------------- */

static void wait_a_little(unsigned *looks)
{
	if (++*looks % PATIENCE == 0)
		(void)sched_yield();
#if defined(__x86_64__)
	else
		_mm_pause();
#endif
}

static void *produce(void *argument)
{
	struct run *run = argument;
	unsigned looks = 0;
	while (!atomic_load_explicit(&run->bench->over, memory_order_relaxed)) {
		if (run->subject->push(run->bench, run->bench->batch) == 0)
			wait_a_little(&looks);
	}
	return NULL;
}

static void consume(void *context)
{
	struct run *run = context;
	struct bench *bench = run->bench;
	unsigned looks = 0;
	for (uint32_t taken = 0; taken < ITEMS;) {
		uint32_t wanted = ITEMS - taken < bench->batch ? ITEMS - taken : bench->batch;
		uint32_t now = run->subject->take(bench, wanted);
		if (now == 0)
			wait_a_little(&looks);
		taken += now;
	}
}

/* The threads that are made later inherit the CPU: the producer leaves it. */
struct other_side {
	struct run *run;
	int cpu;
};

static void *produce_elsewhere(void *argument)
{
	const struct other_side *side = argument;
	must(cpu_pin(side->cpu) == 0);
	return produce(side->run);
}

static void measure_two(struct run *run, const char *name, int cpu)
{
	struct other_side side = {.run = run, .cpu = cpu};
	pthread_t producer;
	atomic_store(&run->bench->over, false);
	must(pthread_create(&producer, NULL, produce_elsewhere, &side) == 0);
	micro_report(name, consume, run, 1, ITEMS);
	atomic_store(&run->bench->over, true);
	must(pthread_join(producer, NULL) == 0);
	while (run->subject->take(run->bench, BATCH_MOST) > 0)
		;
}

/* --- what is measured --------------------------------------------------------------------------------------------- */

static void measure(struct bench *bench, const struct subject *subject, const struct cpu_list *cpus)
{
	static const uint32_t batches[] = {1, BATCH_MOST};
	struct run run = {.bench = bench, .subject = subject};
	for (size_t i = 0; i < ARRAY_SIZE(subject->lengths) && subject->lengths[i] != 0; i++) {
		for (size_t j = 0; j < ARRAY_SIZE(batches); j++) {
			char name[64];
			bench->length = subject->lengths[i];
			bench->batch = batches[j];
			int end = snprintf(name, sizeof name, "%s, %u bytes, by %u, ", subject->name, bench->length,
					   bench->batch);
			snprintf(name + end, sizeof name - (size_t)end, "one thread");
			micro_report(name, pass, &run, 1, ITEMS);
			snprintf(name + end, sizeof name - (size_t)end, "two threads");
			if (cpus->count > 1)
				measure_two(&run, name, cpus->cpus[1]);
		}
	}
}

int main(void)
{
	static const struct subject subjects[] = {
		{"frame ring", push_frames, take_frames, {64, LONGEST, TUN_FRAME_MAX}},
		{"copy ring", push_copies, take_copies, {64, LONGEST}},
	};
	static struct bench bench;
	static const struct frame_pool_params params = {
		.workers = 1, .slots_per_worker = SLOTS, .ring_entries = FRAMES};
	struct cpu_list cpus;
	struct error error = {0};
	bench.pool = frame_pool_new(&params);
	bench.copies = copy_ring_new(COPIES, LONGEST, &error);
	must(bench.pool != NULL && bench.copies != NULL && cpu_available(&cpus) == 0);
	bench.frames = frame_pool_ring(bench.pool, 0);
	must(cpu_pin(cpus.cpus[0]) == 0);
	if (cpus.count < 2)
		printf("between two threads: skipped (there is one CPU only)\n");
	for (size_t i = 0; i < ARRAY_SIZE(subjects); i++)
		measure(&bench, &subjects[i], &cpus);
	copy_ring_free(bench.copies);
	frame_pool_free(bench.pool);
	return 0;
}
