// SPDX-License-Identifier: Apache-2.0
#include "tests/harness/feed.h"

#include <stdlib.h>

enum {
	THREADS = 2 * FEED_CLIENTS + 1,
	FRAMES = 3,
};

/* What goes into a TUN: for each client a small packet, a TCP super-packet, a UDP super-packet. */
struct traffic {
	struct node *node;
	size_t clients;
	uint8_t *frames[FEED_CLIENTS][FRAMES];
	size_t lengths[FEED_CLIENTS][FRAMES];
	_Atomic bool *stop;
};

struct runner {
	const struct feed_options *options;
	struct worker *worker; /* NULL: the reader */
	struct tun_reader *reader;
	int number;
	pthread_t thread;
};

struct feed {
	struct feed_options options;
	struct harness *h;
	_Atomic bool stop;
	struct traffic traffic[FEED_CLIENTS + 1]; /* the gateway's first */
	pthread_t feeders[FEED_CLIENTS + 1];
	struct runner runners[THREADS];
	size_t runner_count;
};

static void *run(void *argument)
{
	struct runner *runner = argument;
	rcu_join();
	runner->options->begins(runner->number);
	if (runner->worker != NULL)
		worker_run(runner->worker);
	else
		tun_reader_run(runner->reader);
	runner->options->ended();
	rcu_leave();
	return NULL;
}

/* The other end of a TUN: feeds and empties it. */
static void *feed_tun(void *argument)
{
	struct traffic *traffic = argument;
	static _Thread_local uint8_t frame[TUN_FRAME_MAX];
	for (unsigned i = 0; !atomic_load_explicit(traffic->stop, memory_order_relaxed); i++) {
		unsigned which = i % 8 == 0 ? 1 : i % 8 == 4 ? 2 : 0;
		for (size_t c = 0; c < traffic->clients; c++)
			(void)tun_pair_put(&traffic->node->tun, traffic->frames[c][which], traffic->lengths[c][which]);
		while (tun_pair_take(&traffic->node->tun, frame) > 0)
			continue;
		if (i % 64 == 63)
			sched_yield();
	}
	return NULL;
}

static void make_frames(struct traffic *traffic, struct harness *h, size_t client, enum direction direction)
{
	static const uint8_t payload[30000];
	struct packet_spec udp = harness_spec(h, client, direction, 6, IPPROTO_UDP);
	struct packet_spec tcp = harness_spec(h, client, direction, 4, IPPROTO_TCP);
	uint8_t **frames = traffic->frames[traffic->clients];
	size_t *lengths = traffic->lengths[traffic->clients++];
	for (unsigned i = 0; i < FRAMES; i++)
		frames[i] = calloc(1, TUN_FRAME_MAX);
	lengths[0] = packet_build_frame(&udp, payload, 200, 0, frames[0]);
	lengths[1] = packet_build_frame(&tcp, payload, sizeof payload, 1380, frames[1]);
	lengths[2] = packet_build_frame(&udp, payload, sizeof payload, 1300, frames[2]);
}

static struct worker *worker_at(struct feed *feed, unsigned i)
{
	struct harness *h = feed->h;
	return i < h->options.workers ? harness_gateway_worker(h, i) : h->clients[i - h->options.workers].node.worker;
}

static unsigned worker_count(const struct feed *feed)
{
	return feed->h->options.workers + (unsigned)feed->h->options.clients;
}

uint64_t feed_moved(struct feed *feed)
{
	uint64_t least = UINT64_MAX;
	for (unsigned i = 0; i < worker_count(feed); i++) {
		uint64_t packets = atomic_load_explicit(&worker_at(feed, i)->loop.stats.counters[STATS_tun_tx_packets],
							memory_order_relaxed);
		least = packets < least ? packets : least;
	}
	return least;
}

bool feed_wait(struct feed *feed, uint64_t packets)
{
	const struct timespec pause = {.tv_nsec = 5000000};
	uint64_t goal = feed_moved(feed) + packets;
	for (unsigned i = 0; i < 12000; i++) {
		if (feed_moved(feed) >= goal)
			return true;
		nanosleep(&pause, NULL);
	}
	return false;
}

static void start(pthread_t *thread, void *(*function)(void *), void *argument)
{
	if (pthread_create(thread, NULL, function, argument) != 0)
		abort();
}

static void start_runners(struct feed *feed)
{
	for (unsigned i = 0; i < worker_count(feed); i++)
		feed->runners[feed->runner_count++] = (struct runner){.worker = worker_at(feed, i), .number = (int)i};
	if (feed->h->gateway.reader != NULL)
		feed->runners[feed->runner_count++] = (struct runner){.reader = feed->h->gateway.reader, .number = -1};
	for (size_t i = 0; i < feed->runner_count; i++) {
		feed->runners[i].options = &feed->options;
		start(&feed->runners[i].thread, run, &feed->runners[i]);
	}
}

static void start_feeders(struct feed *feed)
{
	struct harness *h = feed->h;
	for (size_t i = 0; i <= h->options.clients; i++) {
		struct traffic *traffic = &feed->traffic[i];
		traffic->node = i == 0 ? &h->gateway.node : &h->clients[i - 1].node;
		traffic->stop = &feed->stop;
		for (size_t c = 0; c < h->options.clients; c++) {
			if (i == 0 || i == c + 1)
				make_frames(traffic, h, c, i == 0 ? TO_CLIENT : TO_GATEWAY);
		}
		start(&feed->feeders[i], feed_tun, traffic);
	}
}

struct feed *feed_start(const struct feed_options *options)
{
	struct feed *feed = calloc(1, sizeof *feed);
	if (feed == NULL)
		abort();
	feed->options = *options;
	feed->h = harness_new(&(struct harness_options){.clients = options->workers,
							.workers = options->workers,
							.reader = options->reader,
							.fast_aead = true,
							.clock = &clock_system,
							.stage_sampling = 4});
	if (!harness_up(feed->h)) {
		harness_free(feed->h);
		free(feed);
		return NULL;
	}
	if (options->made != NULL)
		options->made(feed->h->gateway.reader);
	start_runners(feed);
	start_feeders(feed);
	return feed;
}

void feed_stop(struct feed *feed)
{
	atomic_store_explicit(&feed->stop, true, memory_order_relaxed);
	for (size_t i = 0; i <= feed->h->options.clients; i++)
		pthread_join(feed->feeders[i], NULL);
	if (feed->h->gateway.reader != NULL)
		event_loop_stop(&feed->h->gateway.reader->loop);
	for (unsigned i = 0; i < worker_count(feed); i++)
		event_loop_stop(&worker_at(feed, i)->loop);
	for (size_t i = 0; i < feed->runner_count; i++)
		pthread_join(feed->runners[i].thread, NULL);
	for (size_t i = 0; i <= feed->h->options.clients; i++) {
		for (size_t c = 0; c < feed->traffic[i].clients; c++) {
			for (unsigned f = 0; f < FRAMES; f++)
				free(feed->traffic[i].frames[c][f]);
		}
	}
	harness_free(feed->h);
	free(feed);
}
