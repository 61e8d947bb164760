// SPDX-License-Identifier: Apache-2.0
/* The address pool under fire. First, two threads change one entry at the same moment, many times, and the outcome is
 * that of one order or the other. Then two workers activate, replace and end sessions while the control plane reserves
 * and releases, and a reader looks up. The old and the new session of a peer are on different workers, so that
 * replacing and ending meet on one entry. No address has two owners, no session loses its address but to one that
 * replaces it, and nothing leaks. */
#include "core/sessions/pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>

#include "tests/stress/tap.h"

enum { WORKERS = 2, PEERS = 24, SESSIONS = 60000, PATIENCE_S = 120, INDEX_BITS = 8 };

/* A session on its way: the control plane gives it to a worker, which gives it back. */
enum ticket_state { TICKET_EMPTY, TICKET_GIVEN, TICKET_ENDED };

struct ticket {
	_Atomic unsigned state; /* orders the rest */
	uint32_t id, replaced;
	bool confirm; /* or end it without */
	/* the worker's answer */
	bool activated, lost; /* lost: it had ended before its worker ended it */
	/* the control plane's */
	bool challenged; /* a session that may replace it was made */
	/* the worker's */
	enum { TICKET_NEW, TICKET_PENDING, TICKET_UP } phase;
	unsigned until; /* round of the control plane when the phase ends */
};

struct stress_peer {
	struct ticket tickets[WORKERS]; /* one on each worker */
	uint32_t index;			/* POOL_NONE: none */
	uint32_t last_index;
};

struct arena {
	struct pool pool;
	struct stress_peer peers[PEERS];
	pthread_barrier_t start;
	_Atomic bool over;
	_Atomic unsigned rounds[WORKERS]; /* so that others see them at work */
	_Atomic unsigned control_rounds;
};

struct worker {
	struct arena *arena;
	unsigned number, random;
	_Atomic unsigned overlapped;
};

struct reader {
	struct arena *arena;
	_Atomic unsigned seen, changes;
	unsigned strangers;
};

struct control {
	struct arena *arena;
	struct worker *workers;
	struct reader *reader;
	unsigned owners[1 << INDEX_BITS]; /* of each index: the peer and 1 */
	uint32_t serial;
	unsigned random;
	unsigned sessions, two_owners, stuck, robbed;
	unsigned activated, refused, lost, sticky;
};

static void must(bool good)
{
	if (!good)
		abort();
}

static unsigned roll(unsigned *random, unsigned sides)
{
	*random = *random * 1664525 + 1013904223;
	return (*random >> 16) % sides;
}

/* --- workers ------------------------------------------------------------------------------------------------------ */

static void work_on(struct worker *worker, struct ticket *ticket)
{
	struct pool *pool = &worker->arena->pool;
	unsigned now = atomic_load_explicit(&worker->arena->control_rounds, memory_order_relaxed);
	uint32_t index = ticket->id & ((1 << INDEX_BITS) - 1);
	if (ticket->phase == TICKET_NEW) {
		ticket->until = now + roll(&worker->random, 3);
		ticket->phase = TICKET_PENDING;
	} else if ((int)(now - ticket->until) < 0) {
		return;
	} else if (ticket->phase == TICKET_PENDING) {
		ticket->activated = ticket->confirm && pool_activate(pool, index, ticket->id, ticket->replaced);
		ticket->lost = false;
		ticket->until = now + roll(&worker->random, 8);
		ticket->phase = TICKET_UP;
	} else {
		if (ticket->activated)
			ticket->lost = !pool_deactivate(pool, index, ticket->id);
		ticket->phase = TICKET_NEW;
		atomic_store_explicit(&ticket->state, TICKET_ENDED, memory_order_release);
	}
}

static void *work(void *argument)
{
	struct worker *worker = argument;
	struct arena *arena = worker->arena;
	unsigned seen = 0;
	pthread_barrier_wait(&arena->start);
	while (!atomic_load_explicit(&arena->over, memory_order_acquire)) {
		for (unsigned i = 0; i < PEERS; i++) {
			struct ticket *ticket = &arena->peers[i].tickets[worker->number];
			if (atomic_load_explicit(&ticket->state, memory_order_acquire) == TICKET_GIVEN)
				work_on(worker, ticket);
		}
		unsigned other = atomic_load_explicit(&arena->rounds[!worker->number], memory_order_relaxed);
		atomic_fetch_add_explicit(&worker->overlapped, other != seen, memory_order_relaxed);
		seen = other;
		atomic_fetch_add_explicit(&arena->rounds[worker->number], 1, memory_order_relaxed);
		sched_yield();
	}
	return NULL;
}

static void *look_up(void *argument)
{
	struct reader *reader = argument;
	struct arena *arena = reader->arena;
	uint32_t last[1 << INDEX_BITS] = {0};
	pthread_barrier_wait(&arena->start);
	while (!atomic_load_explicit(&arena->over, memory_order_acquire)) {
		for (uint32_t index = 0; index < arena->pool.size; index++) {
			uint8_t destination[4];
			store_be32(destination, arena->pool.base4 + index);
			uint32_t id = pool_lookup(&arena->pool, 4, destination);
			atomic_fetch_add_explicit(&reader->seen, id != 0, memory_order_relaxed);
			reader->strangers += id != 0 && (id & ((1 << INDEX_BITS) - 1)) != index;
			atomic_fetch_add_explicit(&reader->changes, id != last[index], memory_order_relaxed);
			last[index] = id;
		}
		sched_yield();
	}
	return NULL;
}

/* --- control plane ------------------------------------------------------------------------------------------------ */

static void give(struct control *control, struct stress_peer *peer, struct ticket *ticket, struct ticket *other)
{
	bool replaces = atomic_load_explicit(&other->state, memory_order_relaxed) != TICKET_EMPTY;
	ticket->id = ++control->serial << INDEX_BITS | peer->index;
	ticket->replaced = replaces ? other->id : 0;
	ticket->confirm = roll(&control->random, 8) != 0;
	ticket->challenged = false;
	other->challenged |= replaces;
	control->sessions++;
	atomic_store_explicit(&ticket->state, TICKET_GIVEN, memory_order_release);
}

static void collect(struct control *control, struct ticket *ticket)
{
	if (atomic_load_explicit(&ticket->state, memory_order_acquire) != TICKET_ENDED)
		return;
	control->activated += ticket->activated;
	control->refused += ticket->confirm && !ticket->activated;
	control->lost += ticket->lost;
	control->robbed += ticket->lost && !ticket->challenged;
	atomic_store_explicit(&ticket->state, TICKET_EMPTY, memory_order_relaxed);
}

static bool is_empty(struct ticket *ticket)
{
	return atomic_load_explicit(&ticket->state, memory_order_relaxed) == TICKET_EMPTY;
}

static void reserve(struct control *control, struct stress_peer *peer)
{
	struct arena *arena = control->arena;
	uint32_t index = POOL_NONE;
	if (peer->last_index != POOL_NONE && roll(&control->random, 2) == 0) {
		index = pool_reserve(&arena->pool, peer->last_index);
		control->sticky += index != POOL_NONE;
	}
	if (index == POOL_NONE)
		index = pool_reserve(&arena->pool, POOL_NONE);
	if (index == POOL_NONE)
		return;
	control->two_owners += control->owners[index] != 0;
	control->owners[index] = (unsigned)(peer - arena->peers) + 1;
	peer->index = peer->last_index = index;
}

static void release(struct control *control, struct stress_peer *peer)
{
	control->stuck += !pool_release(&control->arena->pool, peer->index);
	control->owners[peer->index] = 0;
	peer->index = POOL_NONE;
}

/* Sessions of a peer follow each other; sometimes the next one comes while one is there. */
static void attend(struct control *control, struct stress_peer *peer, bool more)
{
	unsigned first = roll(&control->random, WORKERS);
	struct ticket *one = &peer->tickets[first], *other = &peer->tickets[!first];
	collect(control, one);
	collect(control, other);
	if (is_empty(one) && is_empty(other) && peer->index != POOL_NONE)
		release(control, peer);
	if (!more)
		return;
	if (peer->index == POOL_NONE && roll(&control->random, 4) == 0)
		reserve(control, peer);
	if (peer->index != POOL_NONE && is_empty(one))
		give(control, peer, one, other);
}

static bool all_quiet(struct control *control)
{
	for (unsigned i = 0; i < PEERS; i++)
		if (control->arena->peers[i].index != POOL_NONE)
			return false;
	return true;
}

static bool replaced_enough(const struct control *control)
{
	return control->lost > 100 && control->refused > 10 && control->sticky > 10;
}

static bool reader_was_there(struct reader *reader)
{
	return atomic_load_explicit(&reader->seen, memory_order_relaxed) > 100 &&
	       atomic_load_explicit(&reader->changes, memory_order_relaxed) > 100;
}

static bool workers_overlapped(struct worker *workers)
{
	return atomic_load_explicit(&workers[0].overlapped, memory_order_relaxed) > 100 &&
	       atomic_load_explicit(&workers[1].overlapped, memory_order_relaxed) > 100;
}

/* On a busy machine the threads meet seldom, and it takes more sessions until they did. False when it takes too long.
 */
static bool run_control(struct control *control)
{
	time_t deadline = time(NULL) + PATIENCE_S;
	for (bool more = true; more || !all_quiet(control);) {
		for (unsigned i = 0; i < PEERS; i++)
			attend(control, &control->arena->peers[i], more);
		more = control->sessions < SESSIONS || !replaced_enough(control) ||
		       !reader_was_there(control->reader) || !workers_overlapped(control->workers);
		atomic_fetch_add_explicit(&control->arena->control_rounds, 1, memory_order_relaxed);
		sched_yield();
		if (time(NULL) > deadline)
			return false;
	}
	return true;
}

/* Every address can be given out again, once. */
static bool nothing_leaked(struct pool *pool)
{
	bool given[1 << INDEX_BITS] = {false};
	if (atomic_load(&pool->used) != 0)
		return false;
	for (uint32_t i = 0; i < pool->usable; i++) {
		uint32_t index = pool_reserve(pool, POOL_NONE);
		if (index == POOL_NONE || given[index])
			return false;
		given[index] = true;
	}
	return pool_reserve(pool, POOL_NONE) == POOL_NONE;
}

static void start_threads(struct arena *arena, pthread_t *threads, struct worker *workers, struct reader *reader)
{
	pthread_barrier_init(&arena->start, NULL, WORKERS + 2);
	for (unsigned i = 0; i < WORKERS; i++) {
		workers[i] = (struct worker){.arena = arena, .number = i, .random = i};
		must(pthread_create(&threads[i], NULL, work, &workers[i]) == 0);
	}
	must(pthread_create(&threads[WORKERS], NULL, look_up, reader) == 0);
	pthread_barrier_wait(&arena->start);
}

/* --- races -------------------------------------------------------------------------------------------------------- */

enum {
	SPINS = 2000,
	CLOSE = 20000, /* rounds of each kind that are wanted */
	EACH_ORDER = 100,
};

/* What two threads do to one entry, where 1 and 2 are sessions. */
enum race { BOTH_ACTIVATE, ONE_ENDS_AND_ONE_REPLACES, BOTH_REPLACE, RACES };

struct ring {
	struct pool pool;
	_Atomic unsigned arrived;
	bool over;
	bool won[2];		     /* whether each thread's change was made */
	bool waited[2];		     /* until the other one got a CPU */
	unsigned outcomes[RACES][2]; /* by the first thread's */
	unsigned close[RACES];	     /* rounds where both were on a CPU */
	unsigned wrong[RACES];
};

struct racer {
	struct ring *ring;
	unsigned number, random, meetings;
};

/* Binds the calling thread to the n-th CPU that this process may use: two threads on one CPU never meet. */
static void take_cpu(unsigned n)
{
	cpu_set_t all, one;
	CPU_ZERO(&one);
	must(sched_getaffinity(0, sizeof all, &all) == 0);
	for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &all) || n-- > 0)
			continue;
		CPU_SET(cpu, &one);
		must(sched_setaffinity(0, sizeof one, &one) == 0);
		return;
	}
}

/* A barrier that does not sleep: a change is over in nanoseconds. Whether the other one had to be let on the CPU. */
static bool meet(struct racer *self)
{
	unsigned all = 2 * ++self->meetings, spins = 0;
	atomic_fetch_add_explicit(&self->ring->arrived, 1, memory_order_acq_rel);
	while ((int)(atomic_load_explicit(&self->ring->arrived, memory_order_acquire) - all) < 0)
		if (++spins % SPINS == 0)
			sched_yield();
	return spins >= SPINS;
}

static bool fight(struct pool *pool, enum race race, unsigned number)
{
	switch (race) {
	case BOTH_ACTIVATE:
		return pool_activate(pool, 2, number + 1, 0);
	case ONE_ENDS_AND_ONE_REPLACES:
		return number == 0 ? pool_deactivate(pool, 2, 9) : pool_activate(pool, 2, 2, 9);
	default:
		return pool_activate(pool, 2, number + 1, 9);
	}
}

static void prepare(struct pool *pool, enum race race)
{
	must(pool_reserve(pool, 2) == 2 && (race == BOTH_ACTIVATE || pool_activate(pool, 2, 9, 0)));
}

static void judge(struct ring *ring, enum race race)
{
	uint8_t destination[4];
	store_be32(destination, ring->pool.base4 + 2);
	uint32_t winner = pool_lookup(&ring->pool, 4, destination);
	/* The end of a session that is replaced changes nothing; a session replaces one that ended as well. */
	bool good = race == ONE_ENDS_AND_ONE_REPLACES
			    ? ring->won[1] && winner == 2
			    : ring->won[0] != ring->won[1] && winner == (ring->won[1] ? 2 : 1);
	good &= winner != 0 && pool_deactivate(&ring->pool, 2, winner);
	good &= pool_release(&ring->pool, 2);
	ring->wrong[race] += !good;
	ring->outcomes[race][ring->won[0]]++;
	ring->close[race] += !ring->waited[0] && !ring->waited[1];
}

static bool seen_enough(const struct ring *ring)
{
	bool enough = true;
	for (unsigned i = 0; i < RACES; i++)
		enough &= ring->close[i] >= CLOSE && ring->outcomes[i][0] >= EACH_ORDER &&
			  ring->outcomes[i][1] >= EACH_ORDER;
	return enough;
}

static void *race(void *argument)
{
	struct racer *self = argument;
	struct ring *ring = self->ring;
	time_t deadline = time(NULL) + PATIENCE_S;
	for (unsigned round = 0;; round++) {
		enum race race = (enum race)(round % RACES);
		if (self->number == 0) {
			ring->over = round % 1024 == 0 && (seen_enough(ring) || time(NULL) > deadline);
			prepare(&ring->pool, race);
		}
		ring->waited[self->number] = meet(self);
		if (ring->over)
			return NULL;
		for (volatile unsigned wait = roll(&self->random, 16); wait > 0; wait--)
			;
		ring->won[self->number] = fight(&ring->pool, race, self->number);
		meet(self);
		if (self->number == 0)
			judge(ring, race);
	}
}

static void *second_racer(void *argument)
{
	take_cpu(1);
	return race(argument);
}

static void races(struct tap *tap)
{
	static const char *const names[] = {"of two that activate, one does", "an end does not undo a replacement",
					    "of two that replace, one does"};
	static struct ring ring;
	struct racer racers[2];
	pthread_t second;
	struct ip_prefix network;
	cpu_set_t cpus;
	must(sched_getaffinity(0, sizeof cpus, &cpus) == 0);
	if (CPU_COUNT(&cpus) < 2) {
		tap_ok(tap, true, "races # SKIP one CPU");
		return;
	}
	must(ip_prefix_parse("10.8.0.1/30", &network) && pool_init(&ring.pool, &network, 1, NULL) == 0);
	for (unsigned i = 0; i < 2; i++)
		racers[i] = (struct racer){.ring = &ring, .number = i, .random = i};
	must(pthread_create(&second, NULL, second_racer, &racers[1]) == 0);
	take_cpu(0);
	race(&racers[0]);
	pthread_join(second, NULL);
	must(sched_setaffinity(0, sizeof cpus, &cpus) == 0);
	for (unsigned i = 0; i < RACES; i++) {
		printf("# the first thread was first %u times, the second %u times; %u times they met\n",
		       ring.outcomes[i][1], ring.outcomes[i][0], ring.close[i]);
		tap_ok(tap, ring.wrong[i] == 0, names[i]);
	}
	tap_ok(tap, seen_enough(&ring), "they met, and either order came");
	pool_deinit(&ring.pool);
}

/* --- all together ------------------------------------------------------------------------------------------------- */

static void sessions_come_and_go(struct tap *tap)
{
	static struct arena arena;
	struct ip_prefix network;
	/* Fewer addresses than peers, so that they also wait for each other. */
	must(ip_prefix_parse("10.8.0.1/28", &network) && pool_init(&arena.pool, &network, 1, NULL) == 0);
	for (unsigned i = 0; i < PEERS; i++)
		arena.peers[i].index = arena.peers[i].last_index = POOL_NONE;

	pthread_t threads[WORKERS + 1];
	struct worker workers[WORKERS];
	struct reader reader = {.arena = &arena};
	struct control control = {.arena = &arena, .workers = workers, .reader = &reader, .random = 42};
	start_threads(&arena, threads, workers, &reader);
	bool done = run_control(&control);
	atomic_store_explicit(&arena.over, true, memory_order_release);
	for (unsigned i = 0; i < WORKERS + 1; i++)
		pthread_join(threads[i], NULL);

	printf("# %u sessions, %u active, %u of them replaced, %u refused; %u sticky addresses\n", control.sessions,
	       control.activated, control.lost, control.refused, control.sticky);
	printf("# %u lookups found one, %u changes seen; workers saw each other %u and %u times\n", reader.seen,
	       reader.changes, workers[0].overlapped, workers[1].overlapped);
	tap_ok(tap, done, "every session came to its end");
	tap_ok(tap, control.two_owners == 0, "no address has two owners");
	tap_ok(tap, control.robbed == 0, "no session loses its address but to one that replaces it");
	tap_ok(tap, control.stuck == 0, "an address without sessions can be released");
	tap_ok(tap, reader.strangers == 0, "a lookup finds a session of this address");
	tap_ok(tap, nothing_leaked(&arena.pool), "nothing leaked");
	tap_ok(tap, replaced_enough(&control), "sessions replaced each other");
	tap_ok(tap, reader_was_there(&reader), "the reader was there");
	tap_ok(tap, workers_overlapped(workers), "the workers overlapped");
	pthread_barrier_destroy(&arena.start);
	pool_deinit(&arena.pool);
}

int main(void)
{
	struct tap tap = {0};
	races(&tap);
	sessions_come_and_go(&tap);
	return tap_done(&tap);
}
