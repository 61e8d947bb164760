// SPDX-License-Identifier: Apache-2.0
/* Trains that hold datagrams of several sessions, and HELLOs, as GRO may make them of what comes from one address: the
 * kernel steers each by its first datagram, and the worker that receives it hands the others on. Some clients' HELLOs
 * and packets have the same size, and reach the gateway in such trains only. */
#include <stdlib.h>

#include "tests/harness/inside.h"
#include "tests/harness/stress_rig.h"
#include "tests/stress/tap.h"

enum {
	CLIENTS = 8,
	MIXED = 6, /* of them: the others are left alone */
	STASH = 256,
	TRAIN = 8,
	PACKETS = 200, /* of each mixed client that leave the gateway's TUN, at least */
	REKEYS = 6,    /* in each order */
	PATIENCE_MS = 20,
};

/* A datagram on its way. */
struct held {
	uint8_t data[WIRE_HELLO_SIZE];
	size_t client;
};

struct mixer {
	struct stress_rig *rig;
	pthread_t thread;
	_Atomic bool stop;
	_Atomic bool hello_first; /* else it is never the first, and waits for what may be */
	pthread_mutex_t mutex;	  /* over the two */
	struct held stash[STASH];
	size_t count;
	_Atomic uint64_t foreign; /* datagrams in trains of others' */
	_Atomic uint64_t behind_hello, hello_behind;
};

static bool is_hello(const struct held *held)
{
	return wire_type(held->data) == WIRE_HELLO;
}

/* On the clients' threads: takes what is as long as a HELLO off the network. */
static unsigned take_off(void *context, struct link *from, struct udp_message *message)
{
	struct mixer *mixer = context;
	uint32_t step = message->segment_size != 0 ? message->segment_size : message->length;
	size_t client = 0;
	while (client < MIXED && from != &mixer->rig->h->clients[client].node.link)
		client++;
	if (client == MIXED || message->length % WIRE_HELLO_SIZE != 0 || step % WIRE_HELLO_SIZE != 0)
		return 1;
	(void)pthread_mutex_lock(&mixer->mutex);
	for (uint32_t at = 0; at < message->length && mixer->count < STASH; at += WIRE_HELLO_SIZE) {
		struct held *held = &mixer->stash[mixer->count++];
		memcpy(held->data, message->data + at, WIRE_HELLO_SIZE);
		held->client = client;
	}
	(void)pthread_mutex_unlock(&mixer->mutex);
	return 0;
}

/* --- trains ------------------------------------------------------------------------------------------------------- */

/* Takes the oldest that is a HELLO, or none. */
static bool take(struct mixer *mixer, bool hello, struct held *held)
{
	bool found = false;
	(void)pthread_mutex_lock(&mixer->mutex);
	for (size_t i = 0; i < mixer->count && !found; i++) {
		if (is_hello(&mixer->stash[i]) != hello)
			continue;
		found = true;
		*held = mixer->stash[i];
		memmove(&mixer->stash[i], &mixer->stash[i + 1], (--mixer->count - i) * sizeof *held);
	}
	(void)pthread_mutex_unlock(&mixer->mutex);
	return found;
}

/* At most one HELLO each: the answer goes where the train came from. */
static size_t collect(struct mixer *mixer, struct held train[TRAIN])
{
	size_t count = 0;
	while (count < TRAIN - 1 && take(mixer, false, &train[count]))
		count++;
	bool first = atomic_load_explicit(&mixer->hello_first, memory_order_relaxed);
	struct held hello;
	if ((count == 0 && !first) || !take(mixer, true, &hello))
		return count;
	size_t at = first ? 0 : 1 + stress_rig_random((uint32_t)count);
	memmove(&train[at + 1], &train[at], (count - at) * sizeof *train);
	train[at] = hello;
	return count + 1;
}

static void note(struct mixer *mixer, const struct held *train, size_t count)
{
	const struct steering *steering = &mixer->rig->h->gateway.handoff.steering;
	uint32_t owner = steering_thread(steering, train[0].data, WIRE_HELLO_SIZE);
	for (size_t i = 1; i < count; i++) {
		bool foreign = steering_thread(steering, train[i].data, WIRE_HELLO_SIZE) != owner;
		atomic_fetch_add_explicit(&mixer->foreign, foreign, memory_order_relaxed);
		atomic_fetch_add_explicit(&mixer->behind_hello, is_hello(&train[0]), memory_order_relaxed);
		atomic_fetch_add_explicit(&mixer->hello_behind, is_hello(&train[i]), memory_order_relaxed);
	}
}

static void send_train(struct mixer *mixer, const struct held *train, size_t count)
{
	struct harness *h = mixer->rig->h;
	uint8_t bytes[TRAIN * WIRE_HELLO_SIZE];
	struct udp_message message = {.data = bytes,
				      .length = (uint32_t)(count * WIRE_HELLO_SIZE),
				      .segment_size = count > 1 ? WIRE_HELLO_SIZE : 0,
				      .endpoint.local = h->gateway_address.sin6_addr};
	size_t sender = train[0].client;
	for (size_t i = 0; i < count; i++) {
		memcpy(bytes + i * WIRE_HELLO_SIZE, train[i].data, WIRE_HELLO_SIZE);
		if (is_hello(&train[i]))
			sender = train[i].client;
	}
	message.endpoint.remote = h->clients[sender].node.link.address;
	for (unsigned i = 0; i < PATIENCE_MS; i++) {
		if (link_inject(&h->gateway.node.link, &message)) {
			note(mixer, train, count);
			return;
		}
		pause_ms(1);
	}
}

static void *run_mixer(void *argument)
{
	struct mixer *mixer = argument;
	struct held train[TRAIN];
	while (!atomic_load_explicit(&mixer->stop, memory_order_relaxed)) {
		size_t count = collect(mixer, train);
		if (count != 0)
			send_train(mixer, train, count);
		else
			pause_ms(1);
	}
	return NULL;
}

/* --- the scene ---------------------------------------------------------------------------------------------------- */

static bool wait_arrivals(struct stress_rig *rig)
{
	bool good = true;
	for (size_t i = 0; good && i < CLIENTS; i++)
		good = stress_rig_wait(rig, &rig->arrived[i], rig->arrived[i] + PACKETS);
	return good;
}

/* Handshake threads handed something on. */
static bool wait_handshakers(struct stress_rig *rig)
{
	const struct harness *h = rig->h;
	for (unsigned waited = 0; waited < STRESS_RIG_PATIENCE_S * 1000; waited++, pause_ms(1)) {
		for (size_t i = 0; i < h->options.handshakers; i++) {
			const struct stats *stats = &h->gateway.handshakes[i].handshaker->loop.stats;
			if (atomic_load_explicit(&stats->counters[STATS_handed_over], memory_order_relaxed) != 0)
				return true;
		}
		stress_rig_look(rig);
	}
	return false;
}

static bool wait_rekeys(struct stress_rig *rig)
{
	const struct node *gateway = &rig->h->gateway.node;
	return stress_rig_wait_counter(rig, gateway, STATS_rekeys, node_counter(gateway, STATS_rekeys) + REKEYS);
}

static void play(struct tap *tap, struct mixer *mixer)
{
	struct stress_rig *rig = mixer->rig;
	const struct node *gateway = &rig->h->gateway.node;
	/* Before there are sessions nothing else can be in front. */
	mixer->hello_first = true;
	bool up = stress_rig_start(rig);
	tap_ok(tap, up, "all clients are up");
	if (!up)
		exit(tap_done(tap));
	tap_ok(tap, wait_arrivals(rig) && wait_rekeys(rig), "packets arrive and keys are renewed");
	tap_ok(tap, wait_handshakers(rig) && stress_rig_wait(rig, &mixer->behind_hello, 1),
	       "handshake threads hand packets on that come behind a HELLO");
	mixer->hello_first = false;
	uint64_t hellos = mixer->hello_behind;
	tap_ok(tap, wait_arrivals(rig) && wait_rekeys(rig), "they also do when HELLOs come behind packets");
	tap_ok(tap, stress_rig_wait(rig, &mixer->hello_behind, hellos + 1), "which workers hand on");
	tap_ok(tap,
	       stress_rig_wait_counter(rig, gateway, STATS_handed_over, PACKETS) &&
		       stress_rig_wait(rig, &mixer->foreign, PACKETS),
	       "workers hand on what is each other's");
	printf("# %lu foreign datagrams, %lu handed over, %lu lost to full rings; %lu moves\n", mixer->foreign,
	       node_counter(gateway, STATS_handed_over), node_drops(gateway, DROP_HANDOFF),
	       node_counter(gateway, STATS_roams));
}

int main(void)
{
	struct tap tap = {0};
	struct stress_rig rig;
	static struct mixer mixer = {.mutex = PTHREAD_MUTEX_INITIALIZER};
	stress_rig_open(
		&rig,
		&(struct harness_options){
			.clients = CLIENTS, .workers = 4, .handshakers = 2, .max_sessions = 32, .rekey_interval = 10},
		NULL);
	mixer.rig = &rig;
	rig.hello_size_packets = MIXED;
	rig.h->network.hooks = (struct link_hooks){.carry = take_off, .context = &mixer};
	must(pthread_create(&mixer.thread, NULL, run_mixer, &mixer) == 0, "thread");
	play(&tap, &mixer);

	/* The end comes while trains do. */
	const char *problem = stress_rig_end(&rig);
	if (problem != NULL)
		printf("# %s\n", problem);
	atomic_store_explicit(&mixer.stop, true, memory_order_relaxed);
	(void)pthread_join(mixer.thread, NULL);
	const struct node *gateway = &rig.h->gateway.node;
	tap_ok(&tap, node_counter(gateway, STATS_handed_over) + node_drops(gateway, DROP_HANDOFF) <= mixer.foreign,
	       "nothing is handed on twice, or without need");
	tap_ok(&tap, problem == NULL, "every datagram was delivered or counted, by whoever it belonged to");
	tap_ok(&tap, rig.nonsense == 0, "who walked over the table saw nothing impossible");
	stress_rig_close(&rig);
	return tap_done(&tap);
}
