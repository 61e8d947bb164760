// SPDX-License-Identifier: Apache-2.0
/* Lookups while networks come and go. Readers look up addresses in networks that are always there and in those that one
 * writer adds and removes: inside, around and beside these, and beside each other. A reader notes the state of all that
 * could answer before and after its lookup; what did not change meanwhile decides which answers are right. */
#include "core/sessions/networks.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>

#include "core/base/clock.h"
#include "tests/harness/packets.h"
#include "tests/stress/tap.h"

enum { READERS = 2, WATCHED_MAX = 128, LOOKUPS = 64 /* between quiescent states */ };

#define SCENE_NS     NS_PER_S	     /* how long a scene takes at least */
#define SCENE_MAX_NS (90 * NS_PER_S) /* how long it waits for threads to overlap on a busy machine */
#define ENOUGH	     200	     /* times that they did */
#define SESSION(w)   ((uint32_t)(w) + 1)

/* `state` counts up: 4n absent, 4n + 1 being added, 4n + 2 present, 4n + 3 being removed. */
struct watched {
	struct ip_prefix prefix;
	bool always;		      /* it stays */
	uint8_t related[WATCHED_MAX]; /* numbers of all that overlap with it, itself included */
	unsigned related_count;
	struct network_route *route; /* the writer's */
	_Alignas(CACHE_LINE) _Atomic uint32_t state;
};

struct scene {
	struct networks table;
	struct watched watched[WATCHED_MAX];
	unsigned count;
	pthread_barrier_t start;
	_Alignas(CACHE_LINE) _Atomic uint32_t changes;
	_Atomic bool over;
	_Alignas(CACHE_LINE) _Atomic uint32_t overlapped; /* lookups that a change fell into */
};

struct reader {
	struct scene *scene;
	struct random random;
	uint64_t lookups;
	uint64_t certain; /* lookups that had to find something */
	uint64_t missed, alien, ghost, stranger;
};

static void PRINTF_LIKE(3, 4) watch(struct scene *scene, bool always, const char *format, ...)
{
	char text[IP_TEXT_MAX];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	struct watched *watched = &scene->watched[scene->count++];
	if (scene->count > WATCHED_MAX || !ip_prefix_parse(text, &watched->prefix))
		abort();
	watched->always = always;
}

static void relate(struct scene *scene)
{
	for (unsigned i = 0; i < scene->count; i++) {
		struct watched *watched = &scene->watched[i];
		for (unsigned k = 0; k < scene->count; k++) {
			if (ip_prefix_overlaps(&watched->prefix, &scene->watched[k].prefix))
				watched->related[watched->related_count++] = (uint8_t)k;
		}
	}
}

static struct ip_address address_in(const struct ip_prefix *prefix, struct random *random)
{
	struct ip_address address = prefix->address;
	uint8_t noise[16];
	random_fill(random, noise, sizeof noise);
	for (unsigned bit = prefix->length; bit < (address.family == 4 ? 32u : 128u); bit++)
		address.bytes[bit / 8] |= (uint8_t)(noise[bit / 8] & 0x80u >> bit % 8);
	return address;
}

/* Says whether a lookup was right, by the states before and after it. */
static void judge(struct reader *reader, const struct watched *target, const struct ip_address *address,
		  const struct network_route *route, const uint32_t before[], const uint32_t after[])
{
	unsigned longest = 0; /* of those that were there all along; 0: none was */
	bool known = false;
	for (unsigned i = 0; i < target->related_count; i++) {
		unsigned number = target->related[i];
		const struct watched *candidate = &reader->scene->watched[number];
		if (!ip_prefix_contains(&candidate->prefix, address))
			continue;
		bool steady = before[i] == after[i];
		if (steady && before[i] % 4 == 2 && candidate->prefix.length > longest)
			longest = candidate->prefix.length;
		if (route != NULL && route->prefix.length == candidate->prefix.length) {
			known = ip_address_equal(&route->prefix.address, &candidate->prefix.address);
			reader->ghost += steady && before[i] % 4 == 0;
			reader->stranger += steady && before[i] % 4 == 2 && route_session(route) != SESSION(number);
		}
	}
	reader->certain += longest > 0;
	reader->missed += longest > 0 && (route == NULL || route->prefix.length < longest);
	reader->alien += route != NULL && !known;
}

static void look_up(struct reader *reader)
{
	struct scene *scene = reader->scene;
	struct watched *target = &scene->watched[random_below(&reader->random, scene->count)];
	struct ip_address address = address_in(&target->prefix, &reader->random);
	uint32_t before[WATCHED_MAX], after[WATCHED_MAX];

	uint32_t changes = atomic_load_explicit(&scene->changes, memory_order_relaxed);
	for (unsigned i = 0; i < target->related_count; i++)
		before[i] = atomic_load_explicit(&scene->watched[target->related[i]].state, memory_order_acquire);
	const struct network_route *route = networks_find(&scene->table, address.family, address.bytes);
	for (unsigned i = 0; i < target->related_count; i++)
		after[i] = atomic_load_explicit(&scene->watched[target->related[i]].state, memory_order_acquire);
	if (changes != atomic_load_explicit(&scene->changes, memory_order_relaxed))
		atomic_fetch_add_explicit(&scene->overlapped, 1, memory_order_relaxed);
	reader->lookups++;
	judge(reader, target, &address, route, before, after);
}

static void *read_networks(void *argument)
{
	struct reader *reader = argument;
	rcu_join();
	pthread_barrier_wait(&reader->scene->start);
	while (!atomic_load_explicit(&reader->scene->over, memory_order_relaxed)) {
		for (unsigned i = 0; i < LOOKUPS; i++)
			look_up(reader);
		rcu_quiescent();
	}
	rcu_leave();
	return NULL;
}

static void step_state(struct watched *watched)
{
	atomic_fetch_add_explicit(&watched->state, 1, memory_order_release);
}

static void toggle(struct scene *scene, unsigned number)
{
	struct watched *watched = &scene->watched[number];
	bool there = watched->route != NULL;
	step_state(watched);
	if (there) {
		networks_remove(&scene->table, watched->route);
		watched->route = NULL;
	} else {
		if (networks_add(&scene->table, &watched->prefix, NULL, &watched->route, NULL) != 0)
			abort();
		route_activate(watched->route, SESSION(number));
	}
	step_state(watched);
	atomic_fetch_add_explicit(&scene->changes, 1, memory_order_relaxed);
}

/* Whether a scene that began at `start` goes on. */
static bool goes_on(uint64_t start, _Atomic uint32_t *overlapped)
{
	uint64_t passed = clock_monotonic(&clock_system) - start;
	bool enough = atomic_load_explicit(overlapped, memory_order_relaxed) > ENOUGH;
	return passed < (enough ? SCENE_NS : SCENE_MAX_NS);
}

static void write_networks(struct scene *scene)
{
	struct random random = {.state = 3};
	uint64_t start = clock_monotonic(&clock_system);
	for (unsigned i = 1; i % 16 != 0 || goes_on(start, &scene->overlapped); i++) {
		unsigned number = random_below(&random, scene->count);
		if (!scene->watched[number].always)
			toggle(scene, number);
		rcu_quiescent();
	}
	atomic_store_explicit(&scene->over, true, memory_order_relaxed);
}

static void report(struct tap *tap, const struct reader readers[READERS], const struct scene *scene)
{
	struct reader all = {0};
	for (unsigned i = 0; i < READERS; i++) {
		all.lookups += readers[i].lookups;
		all.certain += readers[i].certain;
		all.missed += readers[i].missed;
		all.alien += readers[i].alien;
		all.ghost += readers[i].ghost;
		all.stranger += readers[i].stranger;
	}
	printf("# %lu lookups, %lu had to find something; %u changes, one fell into %u lookups\n",
	       (unsigned long)all.lookups, (unsigned long)all.certain, scene->changes, scene->overlapped);
	printf("# %lu missed, %lu alien, %lu gone, %lu of another session\n", (unsigned long)all.missed,
	       (unsigned long)all.alien, (unsigned long)all.ghost, (unsigned long)all.stranger);
	tap_ok(tap, all.missed == 0, "no lookup misses what is there all along");
	tap_ok(tap, all.alien == 0, "what is found has the address");
	tap_ok(tap, all.ghost == 0, "what was gone before is not found");
	tap_ok(tap, all.stranger == 0, "the session is the network's");
	tap_ok(tap, scene->overlapped > ENOUGH && all.certain > ENOUGH, "lookups and changes overlapped");
}

static void play(struct tap *tap, struct scene *scene)
{
	struct reader readers[READERS];
	pthread_t threads[READERS];
	relate(scene);
	networks_init(&scene->table);
	rcu_join();
	for (unsigned i = 0; i < scene->count; i++) {
		if (scene->watched[i].always)
			toggle(scene, i);
	}
	pthread_barrier_init(&scene->start, NULL, READERS + 1);
	for (unsigned i = 0; i < READERS; i++) {
		readers[i] = (struct reader){.scene = scene, .random.state = i + 10};
		if (pthread_create(&threads[i], NULL, read_networks, &readers[i]) != 0)
			abort();
	}
	pthread_barrier_wait(&scene->start);
	write_networks(scene);
	rcu_offline();
	for (unsigned i = 0; i < READERS; i++)
		pthread_join(threads[i], NULL);
	rcu_online();
	report(tap, readers, scene);
	for (unsigned i = 0; i < scene->count; i++) {
		if (scene->watched[i].route != NULL)
			toggle(scene, i);
	}
	tap_ok(tap, scene->table.ipv4.array == NULL && scene->table.ipv6.array == NULL, "nothing is left");
	rcu_leave();
	rcu_after_readers_barrier();
	networks_deinit(&scene->table);
	pthread_barrier_destroy(&scene->start);
	free(scene);
}

static struct scene *scene_new(void)
{
	struct scene *scene = aligned_alloc(CACHE_LINE, sizeof *scene);
	if (scene == NULL)
		abort();
	memset(scene, 0, sizeof *scene);
	return scene;
}

/* In every other site one network stays; the others come and go inside it, beside it and around it. */
static void fixed_among_volatile(struct tap *tap)
{
	struct scene *scene = scene_new();
	watch(scene, false, "10.0.0.0/8");
	watch(scene, false, "10.0.0.0/13");
	watch(scene, false, "fc00::/7");
	watch(scene, false, "fd00::/60");
	for (unsigned site = 0; site < 6; site++) {
		watch(scene, site % 2 == 0, "10.%u.0.0/16", site);
		watch(scene, false, "10.%u.128.0/17", site);
		watch(scene, false, "10.%u.128.0/18", site);
		watch(scene, false, "10.%u.129.0/24", site);
		watch(scene, false, "10.%u.129.8/31", site);
		watch(scene, false, "10.%u.129.8", site);
		watch(scene, false, "10.%u.129.9", site);
		watch(scene, site % 2 == 0, "fd00:0:0:%u::/64", site);
		watch(scene, false, "fd00:0:0:%u:8000::/65", site);
		watch(scene, false, "fd00:0:0:%u:c000::/66", site);
		watch(scene, false, "fd00:0:0:%u::/96", site);
		watch(scene, false, "fd00:0:0:%u::8/127", site);
		watch(scene, false, "fd00:0:0:%u::8", site);
		watch(scene, false, "fd00:0:0:%u::9", site);
	}
	play(tap, scene);
}

/* The table is empty time and again. */
static void few_that_come_and_go(struct tap *tap)
{
	struct scene *scene = scene_new();
	watch(scene, false, "10.0.0.0/8");
	watch(scene, false, "10.128.0.0/9");
	watch(scene, false, "fd00::1");
	play(tap, scene);
}

/* A worker activates newer and newer sessions while the ends of those that they replace are heard. */
struct handoff {
	struct network_route route;
	pthread_barrier_t start;
	_Atomic uint32_t newest; /* set before it is activated: what is older may end */
	_Atomic uint32_t ended;
	_Atomic bool over;
	uint64_t ignored;
};

static void *end_sessions(void *argument)
{
	struct handoff *handoff = argument;
	pthread_barrier_wait(&handoff->start);
	while (!atomic_load_explicit(&handoff->over, memory_order_relaxed)) {
		uint32_t newest = atomic_load_explicit(&handoff->newest, memory_order_relaxed);
		if (route_deactivate(&handoff->route, newest - 1))
			atomic_fetch_add_explicit(&handoff->ended, 1, memory_order_relaxed);
		else
			handoff->ignored++;
	}
	return NULL;
}

/* Replaces session after session; yields how often an entry was not what it must be. */
static uint64_t replace_sessions(struct handoff *handoff, uint32_t *last)
{
	uint64_t wrong = 0, start = clock_monotonic(&clock_system);
	uint32_t newest = *last;
	do {
		atomic_store_explicit(&handoff->newest, ++newest, memory_order_relaxed);
		for (unsigned i = 0; i < 20; i++) { /* time for the end of the older one */
			uint32_t session = route_session(&handoff->route);
			wrong += session != newest - 1 && session != 0;
		}
		route_activate(&handoff->route, newest);
		for (unsigned i = 0; i < 20; i++)
			wrong += route_session(&handoff->route) != newest;
	} while (newest % 256 != 0 || goes_on(start, &handoff->ended));
	*last = newest;
	return wrong;
}

static void replaced_sessions(struct tap *tap)
{
	static struct handoff handoff;
	uint32_t last = 1;
	pthread_t thread;
	pthread_barrier_init(&handoff.start, NULL, 2);
	handoff.newest = last;
	route_activate(&handoff.route, last);
	if (pthread_create(&thread, NULL, end_sessions, &handoff) != 0)
		abort();
	pthread_barrier_wait(&handoff.start);
	uint64_t wrong = replace_sessions(&handoff, &last);
	atomic_store_explicit(&handoff.over, true, memory_order_relaxed);
	pthread_join(thread, NULL);
	printf("# %u sessions, %u ended before they were replaced, %lu ends ignored\n", last, handoff.ended,
	       (unsigned long)handoff.ignored);
	tap_ok(tap, wrong == 0, "an old session's end never clears a new one");
	tap_ok(tap, route_deactivate(&handoff.route, last), "the last one is still there");
	tap_ok(tap, handoff.ended > ENOUGH && handoff.ignored > ENOUGH, "ends and activations overlapped");
	pthread_barrier_destroy(&handoff.start);
}

int main(void)
{
	struct tap tap = {0};
	rcu_start();
	fixed_among_volatile(&tap);
	few_that_come_and_go(&tap);
	replaced_sessions(&tap);
	return tap_done(&tap);
}
