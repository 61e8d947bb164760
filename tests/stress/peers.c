// SPDX-License-Identifier: Apache-2.0
/* The table of peers under fire: two threads of the control plane add, remove, change and count sessions, two others
 * find peers under RCU. What a finder holds stays whole until its next quiescent state, a peer in the table is always
 * found, and nothing leaks. Then several threads compute one DH at once. */
#include "core/sessions/peer.h"

#include <sched.h>
#include <sodium.h>
#include <stdlib.h>
#include <time.h>

#include "crypto/noise.h"
#include "tests/stress/tap.h"

enum {
	KEYS = 64,
	STAYING = 8, /* the first keys are never removed */
	CHANGERS = 2,
	FINDERS = 2,
	CHANGES = 60000,
	BATCH = 32, /* finds between two quiescent states */
	BUSY = 50,  /* percent of removals while sessions point to the peer */
	NETWORKS = 3,
	PAIRS = 100, /* of static keys */
	DH_THREADS = 2,
	MEETINGS = 5, /* in one DH, wanted */
	PATIENCE_S = 120,
};

struct fire {
	struct peers peers;
	pthread_mutex_t registry;
	struct peer *there[KEYS]; /* under the mutex */
	pthread_barrier_t start;
	_Atomic unsigned changes;
	_Atomic unsigned changing;     /* threads that have not finished */
	_Atomic unsigned changers_met; /* changes right after the other thread's */
	_Atomic unsigned overlapped;   /* batches of lookups that a change fell into */
	_Atomic unsigned outlived;     /* peers held past their removal */
};

struct changer {
	struct fire *fire;
	unsigned random;
	unsigned added, removed, busy, doubles, altered, unexpected;
};

struct finder {
	struct fire *fire;
	unsigned random;
	unsigned found, missed, broken, lost;
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

static void make_key(uint8_t key[KEY_SIZE], unsigned number)
{
	for (unsigned i = 0; i < KEY_SIZE; i++)
		key[i] = (uint8_t)(number * 31 + i);
}

/* A peer's preshared key is made from its public key and `mark`, its networks from its number, and as many as `mark`
 * says; wiped memory fails both, and so does one key half and another one half. */
static void fill(struct peer *peer, unsigned number, uint8_t mark)
{
	struct ip_prefix networks[NETWORKS] = {0};
	uint8_t key[KEY_SIZE];
	make_key(key, number);
	for (unsigned i = 0; i < KEY_SIZE; i++)
		key[i] ^= mark;
	peer_set_preshared_key(peer, key);
	size_t count = 1 + mark % NETWORKS;
	for (size_t i = 0; i < count; i++)
		networks[i] = (struct ip_prefix){.address.family = 6, .length = (uint8_t)number};
	struct peer_networks *list = peer_networks_new(networks, count);
	must(list != NULL);
	peer_set_networks(peer, list);
}

static bool whole(const struct peer *peer, unsigned number)
{
	uint8_t key[KEY_SIZE], preshared_key[KEY_SIZE];
	const struct peer_networks *networks = peer_networks(peer);
	make_key(key, number);
	bool good = memcmp(peer->public_key, key, KEY_SIZE) == 0 && networks->count >= 1 && networks->count <= NETWORKS;
	for (unsigned i = 0; i < networks->count; i++)
		good &= networks->items[i].length == number;
	peer_preshared_key(peer, preshared_key);
	for (unsigned i = 0; i < KEY_SIZE; i++)
		good &= (preshared_key[i] ^ key[i]) == (preshared_key[0] ^ key[0]);
	return good && preshared_key[0] != key[0];
}

static uint8_t roll_mark(unsigned *random)
{
	return (uint8_t)(1 + roll(random, 255));
}

/* --- the control plane -------------------------------------------------------------------------------------------- */

static void add(struct changer *changer, unsigned number)
{
	struct fire *fire = changer->fire;
	struct peer *peer = peer_new(&fire->peers);
	must(peer != NULL);
	make_key(peer->public_key, number);
	fill(peer, number, roll_mark(&changer->random));
	int result = peers_add(&fire->peers, peer);
	if (fire->there[number] != NULL) {
		changer->doubles += result == -EEXIST;
		changer->unexpected += result != -EEXIST;
		peer_discard(&fire->peers, peer);
		return;
	}
	changer->unexpected += result != 0;
	changer->added++;
	fire->there[number] = peer;
}

static void remove_one(struct changer *changer, unsigned number)
{
	struct fire *fire = changer->fire;
	struct peer *peer = fire->there[number];
	if (peer == NULL || number < STAYING)
		return;
	bool busy = roll(&changer->random, 100) < BUSY;
	if (busy)
		peer_get(peer);
	peers_remove(&fire->peers, peer);
	fire->there[number] = NULL;
	changer->removed++;
	if (busy) {
		changer->busy++;
		changer->unexpected += !whole(peer, number);
		peer_put(&fire->peers, peer);
	}
}

static void alter_one(struct changer *changer, unsigned number)
{
	struct peer *peer = changer->fire->there[number];
	if (peer == NULL)
		return;
	fill(peer, number, roll_mark(&changer->random));
	changer->altered++;
}

/* What the test is about happened often enough: on a busy machine that takes longer. */
static bool met_enough(struct fire *fire)
{
	return atomic_load_explicit(&fire->overlapped, memory_order_relaxed) > 100 &&
	       atomic_load_explicit(&fire->outlived, memory_order_relaxed) > 10 &&
	       atomic_load_explicit(&fire->changers_met, memory_order_relaxed) > 10;
}

static void *change(void *argument)
{
	struct changer *changer = argument;
	struct fire *fire = changer->fire;
	unsigned seen = 0;
	rcu_join();
	rcu_offline();
	pthread_barrier_wait(&fire->start);
	rcu_online();
	time_t deadline = time(NULL) + PATIENCE_S;
	for (unsigned i = 0; i < CHANGES || (!met_enough(fire) && time(NULL) < deadline); i++) {
		unsigned number = roll(&changer->random, KEYS);
		pthread_mutex_lock(&fire->registry);
		unsigned changes = atomic_fetch_add_explicit(&fire->changes, 1, memory_order_relaxed);
		unsigned what = roll(&changer->random, 3);
		if (what == 0)
			add(changer, number);
		else if (what == 1)
			remove_one(changer, number);
		else
			alter_one(changer, number);
		pthread_mutex_unlock(&fire->registry);
		if (changes != seen)
			atomic_fetch_add_explicit(&fire->changers_met, 1, memory_order_relaxed);
		seen = changes + 1;
		rcu_quiescent();
		if (i % 16 == 0)
			sched_yield();
	}
	atomic_fetch_sub_explicit(&fire->changing, 1, memory_order_release);
	rcu_leave();
	return NULL;
}

/* --- finders ------------------------------------------------------------------------------------------------------ */

/* All that was found is looked at again before the quiescent state. */
static void find_batch(struct finder *finder)
{
	struct fire *fire = finder->fire;
	const struct peer *held[BATCH];
	unsigned numbers[BATCH], count = 0;
	unsigned before = atomic_load_explicit(&fire->changes, memory_order_relaxed);
	for (unsigned i = 0; i < BATCH; i++) {
		uint8_t key[KEY_SIZE];
		unsigned number = roll(&finder->random, KEYS);
		make_key(key, number);
		const struct peer *peer = peers_find(&fire->peers, key);
		finder->missed += peer == NULL;
		finder->lost += peer == NULL && number < STAYING;
		if (peer == NULL)
			continue;
		finder->broken += !whole(peer, number);
		numbers[count] = number;
		held[count++] = peer;
		if (i % 16 == 0)
			sched_yield();
	}
	for (unsigned i = 0; i < count; i++) {
		uint8_t key[KEY_SIZE];
		make_key(key, numbers[i]);
		if (peers_find(&fire->peers, key) != held[i])
			atomic_fetch_add_explicit(&fire->outlived, 1, memory_order_relaxed);
		finder->broken += !whole(held[i], numbers[i]);
	}
	finder->found += count;
	if (atomic_load_explicit(&fire->changes, memory_order_relaxed) != before)
		atomic_fetch_add_explicit(&fire->overlapped, 1, memory_order_relaxed);
}

static void *find(void *argument)
{
	struct finder *finder = argument;
	struct fire *fire = finder->fire;
	rcu_join();
	rcu_offline();
	pthread_barrier_wait(&fire->start);
	rcu_online();
	while (atomic_load_explicit(&fire->changing, memory_order_acquire) != 0) {
		find_batch(finder);
		if (roll(&finder->random, 8) == 0) {
			rcu_offline();
			sched_yield();
			rcu_online();
		} else {
			rcu_quiescent();
		}
	}
	rcu_leave();
	return NULL;
}

static void start(struct fire *fire)
{
	*fire = (struct fire){.registry = PTHREAD_MUTEX_INITIALIZER, .changing = CHANGERS};
	must(peers_init(&fire->peers, 16, NULL) == 0);
	struct changer first = {.fire = fire};
	rcu_join();
	for (unsigned number = 0; number < STAYING; number++)
		add(&first, number);
	rcu_leave();
	pthread_barrier_init(&fire->start, NULL, CHANGERS + FINDERS);
}

static void report(struct tap *tap, struct fire *fire, const struct changer *changers, const struct finder *finders)
{
	struct changer c = {0};
	struct finder f = {0};
	for (unsigned i = 0; i < CHANGERS; i++) {
		c.added += changers[i].added;
		c.removed += changers[i].removed;
		c.busy += changers[i].busy;
		c.doubles += changers[i].doubles;
		c.altered += changers[i].altered;
		c.unexpected += changers[i].unexpected;
	}
	for (unsigned i = 0; i < FINDERS; i++) {
		f.found += finders[i].found;
		f.missed += finders[i].missed;
		f.broken += finders[i].broken;
		f.lost += finders[i].lost;
	}
	printf("# %u added, %u removed (%u with a session), %u twice, %u changed; the two met %u times\n", c.added,
	       c.removed, c.busy, c.doubles, c.altered, fire->changers_met);
	printf("# %u found, %u not; %u batches while something changed, %u held past their removal\n", f.found,
	       f.missed, fire->overlapped, fire->outlived);
	tap_ok(tap, c.unexpected == 0, "a key is there once");
	tap_ok(tap, f.broken == 0, "what was found stays whole until the quiescent state");
	tap_ok(tap, f.lost == 0, "a peer that stays is always found");
	tap_ok(tap, c.removed > 1000 && c.busy > 100 && c.doubles > 100 && c.altered > 1000,
	       "peers came, changed and went");
	tap_ok(tap, met_enough(fire), "the threads overlapped");
}

static void come_and_go(struct tap *tap)
{
	static struct fire fire;
	pthread_t threads[CHANGERS + FINDERS];
	struct changer changers[CHANGERS];
	struct finder finders[FINDERS];
	start(&fire);
	for (unsigned i = 0; i < CHANGERS; i++) {
		changers[i] = (struct changer){.fire = &fire, .random = i};
		must(pthread_create(&threads[i], NULL, change, &changers[i]) == 0);
	}
	for (unsigned i = 0; i < FINDERS; i++) {
		finders[i] = (struct finder){.fire = &fire, .random = 100 + i};
		must(pthread_create(&threads[CHANGERS + i], NULL, find, &finders[i]) == 0);
	}
	for (unsigned i = 0; i < CHANGERS + FINDERS; i++)
		pthread_join(threads[i], NULL);
	report(tap, &fire, changers, finders);

	rcu_after_readers_barrier();
	size_t there = 0;
	for (unsigned number = 0; number < KEYS; number++)
		there += fire.there[number] != NULL;
	tap_ok(tap, there >= STAYING && peers_count(&fire.peers) == there, "the count holds");
	tap_ok(tap, fire.peers.arena.used == there, "nothing leaked");
	pthread_barrier_destroy(&fire.start);
	peers_deinit(&fire.peers);
}

/* --- DH of the static keys ---------------------------------------------------------------------------------------- */

struct dh {
	struct peers peers;
	struct peer *subjects[PAIRS];
	uint8_t own_private[KEY_SIZE];
	uint8_t expected[PAIRS][KEY_SIZE];
	_Atomic unsigned arrived[2];
};

struct dh_thread {
	struct dh *dh;
	unsigned early, wrong; /* early: it was not computed yet */
};

/* A barrier that hardly sleeps: one DH is over sooner than a thread wakes up. Two take turns, so that a thread that
 * leaves one late is not ordered after what the other thread did since. */
static void meet(struct dh *dh, unsigned round, unsigned turn)
{
	_Atomic unsigned *arrived = &dh->arrived[turn];
	atomic_fetch_add_explicit(arrived, 1, memory_order_acq_rel);
	while (atomic_load_explicit(arrived, memory_order_acquire) < (round + 1) * DH_THREADS)
		sched_yield();
}

static void *compute(void *argument)
{
	struct dh_thread *thread = argument;
	struct dh *dh = thread->dh;
	for (unsigned i = 0; i < PAIRS; i++) {
		uint8_t out[KEY_SIZE] = {0};
		meet(dh, i, 0);
		thread->early += atomic_load_explicit(&dh->subjects[i]->static_static_state, memory_order_relaxed) == 0;
		thread->wrong += !peer_static_static(dh->subjects[i], dh->own_private, out) ||
				 memcmp(out, dh->expected[i], KEY_SIZE) != 0;
		meet(dh, i, 1);
		thread->wrong += !peer_static_static(dh->subjects[i], dh->own_private, out) ||
				 memcmp(out, dh->expected[i], KEY_SIZE) != 0 ||
				 memcmp(out, dh->subjects[i]->static_static, KEY_SIZE) != 0;
	}
	return NULL;
}

struct dh_result {
	unsigned keys, early, wrong;
};

/* Fresh keys, which none of the threads has the DH of. */
static void dh_round(struct dh_result *result)
{
	static struct dh dh;
	pthread_t threads[DH_THREADS];
	struct dh_thread work[DH_THREADS];
	dh = (struct dh){0};
	must(peers_init(&dh.peers, PAIRS, NULL) == 0);
	randombytes_buf(dh.own_private, KEY_SIZE);
	for (unsigned i = 0; i < PAIRS; i++) {
		uint8_t private_key[KEY_SIZE];
		randombytes_buf(private_key, KEY_SIZE);
		must((dh.subjects[i] = peer_new(&dh.peers)) != NULL);
		noise_public_key(private_key, dh.subjects[i]->public_key);
		must(noise_dh(dh.own_private, dh.subjects[i]->public_key, dh.expected[i]));
	}
	for (unsigned i = 0; i < DH_THREADS; i++) {
		work[i] = (struct dh_thread){.dh = &dh};
		must(pthread_create(&threads[i], NULL, compute, &work[i]) == 0);
	}
	for (unsigned i = 0; i < DH_THREADS; i++) {
		pthread_join(threads[i], NULL);
		result->early += work[i].early;
		result->wrong += work[i].wrong;
	}
	result->keys += PAIRS;
	peers_deinit(&dh.peers);
}

/* A DH takes 45 us: on a busy machine the threads meet in one seldom, so they try again. */
static void many_want_one_dh(struct tap *tap)
{
	struct dh_result result = {0};
	time_t deadline = time(NULL) + PATIENCE_S;
	while (result.early < result.keys + MEETINGS || result.keys == 0) {
		dh_round(&result);
		if (time(NULL) > deadline)
			break;
	}
	printf("# %u times for %u keys nobody had the DH yet\n", result.early, result.keys);
	tap_ok(tap, result.wrong == 0, "every thread gets the DH of the static keys");
	tap_ok(tap, result.early >= result.keys + MEETINGS, "two computed at once");
}

int main(void)
{
	struct tap tap = {0};
	must(keys_init(NULL) == 0);
	rcu_start();
	come_and_go(&tap);
	many_want_one_dh(&tap);
	return tap_done(&tap);
}
