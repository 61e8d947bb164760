// SPDX-License-Identifier: Apache-2.0
#include "core/gateway/top.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "core/gateway/sessions.h"

#define RELAXED(word) atomic_load_explicit(&(word), memory_order_relaxed)

enum {
	STEP_MS = 20,
	STEPS = 40, /* of a pass: it takes 0.8 s, and the next one begins a second after it began */
	READY_PASSES = 2,
};
#define PASS_NS	  NS_PER_S
#define LINGER_NS (10 * NS_PER_S) /* after the last question */

/* What was seen at a slot. */
struct look {
	uint64_t when; /* monotonic ns */
	uint64_t rx_bytes, tx_bytes;
	uint32_t rx_packets, tx_packets; /* the low bits */
	uint32_t id;			 /* of the session; 0: none yet */
};

struct ranked {
	uint64_t key;
	uint32_t id;
	float rx_bits, tx_bits, rx_packets, tx_packets; /* a second */
};

/* While it is filled: a heap with the smallest first. */
struct ranking {
	uint32_t count;
	bool sorted; /* the largest first */
	struct ranked entries[TOP_SESSIONS];
};

/* Memory that is there while "top" is in use. */
struct work {
	struct ranking rankings[2][TOP_ORDER_COUNT];
	unsigned filling; /* which of the two; the other one is of the last whole pass */
	uint32_t slot;	  /* the next to look at */
	uint32_t seen, seen_last;
	uint64_t begun; /* this pass */
	bool resting;	/* it is over */
	unsigned passes;
	struct look *looks; /* one a slot; the kernel gives their pages when they are written */
};

struct gateway_top {
	const struct session_table *table;
	int timer_fd;
	uint64_t asked;	   /* last */
	struct work *work; /* NULL: not in use */
};

static uint32_t slot_count(const struct gateway_top *top)
{
	return top->table->sharding.slot_mask + 1;
}

/* --- rankings ----------------------------------------------------------------------------------------------------- */

static const char *const labels[TOP_ORDER_COUNT] = {
#define X(name, label) [name] = label,
	TOP_ORDERS(X)
#undef X
};

bool top_order_parse(const char *label, enum top_order *order)
{
	for (unsigned i = 0; i < TOP_ORDER_COUNT; i++) {
		if (strcmp(label, labels[i]) == 0) {
			*order = (enum top_order)i;
			return true;
		}
	}
	return false;
}

static void sift_up(struct ranking *ranking, struct ranked entry)
{
	uint32_t at = ranking->count++;
	for (; at != 0 && ranking->entries[(at - 1) / 2].key > entry.key; at = (at - 1) / 2)
		ranking->entries[at] = ranking->entries[(at - 1) / 2];
	ranking->entries[at] = entry;
}

/* In place of the smallest. */
static void sift_down(struct ranking *ranking, struct ranked entry)
{
	uint32_t at = 0, child;
	while ((child = 2 * at + 1) < ranking->count) {
		if (child + 1 < ranking->count && ranking->entries[child + 1].key < ranking->entries[child].key)
			child++;
		if (ranking->entries[child].key >= entry.key)
			break;
		ranking->entries[at] = ranking->entries[child];
		at = child;
	}
	ranking->entries[at] = entry;
}

static void offer(struct ranking *ranking, const struct ranked *entry, uint64_t key)
{
	struct ranked keyed = *entry;
	keyed.key = key;
	if (ranking->count < TOP_SESSIONS)
		sift_up(ranking, keyed);
	else if (key > ranking->entries[0].key)
		sift_down(ranking, keyed);
}

static int compare_ranked(const void *a, const void *b)
{
	const struct ranked *x = a, *y = b;
	if (x->key != y->key)
		return x->key < y->key ? 1 : -1;
	return (x->id > y->id) - (x->id < y->id); /* so that equals keep their places */
}

/* --- a pass ------------------------------------------------------------------------------------------------------- */

static float rate(uint64_t amount, uint64_t ns)
{
	return (float)((double)amount * 1e9 / (double)ns);
}

static void look_at(struct work *work, uint32_t slot, const struct session *session, uint64_t now)
{
	const struct session_view *view = &session->view;
	struct look *before = &work->looks[slot];
	struct look seen = {.when = now,
			    .rx_bytes = RELAXED(view->rx_bytes),
			    .tx_bytes = RELAXED(view->tx_bytes),
			    .rx_packets = (uint32_t)RELAXED(view->rx_packets),
			    .tx_packets = (uint32_t)RELAXED(view->tx_packets),
			    .id = session->id};
	struct ranked entry = {.id = session->id};
	if (before->id == seen.id && seen.when > before->when) {
		uint64_t ns = seen.when - before->when;
		entry.rx_bits = rate(8 * (seen.rx_bytes - before->rx_bytes), ns);
		entry.tx_bits = rate(8 * (seen.tx_bytes - before->tx_bytes), ns);
		entry.rx_packets = rate(seen.rx_packets - before->rx_packets, ns);
		entry.tx_packets = rate(seen.tx_packets - before->tx_packets, ns);
	}
	*before = seen;
	work->seen++;

	const uint64_t keys[TOP_ORDER_COUNT] = {
		[TOP_BITS] = (uint64_t)(entry.rx_bits + entry.tx_bits),
		[TOP_RX] = (uint64_t)entry.rx_bits,
		[TOP_TX] = (uint64_t)entry.tx_bits,
		[TOP_PACKETS] = (uint64_t)(entry.rx_packets + entry.tx_packets),
		[TOP_BYTES] = seen.rx_bytes + seen.tx_bytes,
		[TOP_SEEN] = RELAXED(view->received),
		[TOP_AGE] = UINT64_MAX - session_since(session),
		[TOP_ROAMS] = RELAXED(view->roams),
	};
	for (unsigned i = 0; i < TOP_ORDER_COUNT; i++)
		offer(&work->rankings[work->filling][i], &entry, keys[i]);
}

static void begin_pass(struct work *work, uint64_t now)
{
	for (unsigned i = 0; i < TOP_ORDER_COUNT; i++) {
		work->rankings[work->filling][i].count = 0;
		work->rankings[work->filling][i].sorted = false;
	}
	work->slot = work->seen = 0;
	work->begun = now;
	work->resting = false;
}

static void end_pass(struct work *work)
{
	work->filling ^= 1;
	work->seen_last = work->seen;
	work->resting = true;
	work->passes++;
}

static void set_timer(const struct gateway_top *top, long ms)
{
	struct timespec every = {.tv_nsec = ms * (long)NS_PER_MS};
	(void)timerfd_settime(top->timer_fd, 0, &(struct itimerspec){.it_interval = every, .it_value = every}, NULL);
}

static void stop(struct gateway_top *top)
{
	if (top->work == NULL)
		return;
	set_timer(top, 0);
	(void)munmap(top->work->looks, slot_count(top) * sizeof(struct look));
	free(top->work);
	top->work = NULL;
}

void gateway_top_step(struct gateway_top *top, uint64_t now)
{
	uint64_t count;
	struct work *work = top->work;
	ssize_t got = read(top->timer_fd, &count, sizeof count);
	(void)got; /* steps that came late are not made up for */
	if (work == NULL)
		return;
	if (now - top->asked > LINGER_NS) {
		stop(top);
		return;
	}
	if (work->resting && now - work->begun < PASS_NS)
		return;
	if (work->resting)
		begin_pass(work, now);
	uint32_t slots = slot_count(top), last = work->slot + (slots + STEPS - 1) / STEPS;
	last = last < slots ? last : slots;
	for (; work->slot < last; work->slot++) {
		const struct session *session = rcu_read(&top->table->slots[work->slot]);
		if (session != NULL && session_is_active(session))
			look_at(work, work->slot, session, now);
	}
	if (work->slot == slots)
		end_pass(work);
}

/* --- answers ------------------------------------------------------------------------------------------------------ */

static bool start(struct gateway_top *top, uint64_t now)
{
	struct work *work = calloc(1, sizeof *work);
	if (work == NULL)
		return false;
	work->looks = mmap(NULL, slot_count(top) * sizeof(struct look), PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (work->looks == MAP_FAILED) {
		free(work);
		return false;
	}
	begin_pass(work, now);
	top->work = work;
	set_timer(top, STEP_MS);
	return true;
}

static void put_rate(json_t *object, const char *key, float value)
{
	json_object_set_new(object, key, json_integer((json_int_t)(value + 0.5F)));
}

static json_t *describe(const struct gateway_top *top, const struct ranked *entry, uint64_t now)
{
	const struct session *session = session_table_find(top->table, entry->id);
	if (session == NULL)
		return NULL; /* it ended since */
	json_t *object = gateway_session_describe(top->table, session, now);
	put_rate(object, "rx_bits_per_second", entry->rx_bits);
	put_rate(object, "tx_bits_per_second", entry->tx_bits);
	put_rate(object, "rx_packets_per_second", entry->rx_packets);
	put_rate(object, "tx_packets_per_second", entry->tx_packets);
	return object;
}

json_t *gateway_top_answer(struct gateway_top *top, enum top_order order, uint32_t count, uint64_t now)
{
	top->asked = now;
	if (top->work == NULL && !start(top, now))
		return NULL;
	struct work *work = top->work;
	struct ranking *ranking = &work->rankings[work->filling ^ 1][order];
	if (!ranking->sorted)
		qsort(ranking->entries, ranking->count, sizeof ranking->entries[0], compare_ranked);
	ranking->sorted = true;
	json_t *list = json_array();
	for (uint32_t i = 0; i < ranking->count && i < count; i++) {
		json_t *object = describe(top, &ranking->entries[i], now);
		if (object != NULL && json_array_append_new(list, object) != 0) {
			json_decref(list);
			return NULL;
		}
	}
	return json_pack("{s:o, s:s, s:I, s:b}", "sessions", list, "order", labels[order], "seen",
			 (json_int_t)work->seen_last, "ready", work->passes >= READY_PASSES);
}

/* --- life cycle --------------------------------------------------------------------------------------------------- */

struct gateway_top *gateway_top_new(const struct session_table *table, struct error *error)
{
	struct gateway_top *top = calloc(1, sizeof *top);
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (top == NULL || fd < 0) {
		error_set(error, top == NULL ? -ENOMEM : -errno, "top: %s",
			  top == NULL ? "out of memory" : strerror(errno));
		free(top);
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	top->table = table;
	top->timer_fd = fd;
	return top;
}

void gateway_top_free(struct gateway_top *top)
{
	if (top == NULL)
		return;
	stop(top);
	close(top->timer_fd);
	free(top);
}

int gateway_top_fd(const struct gateway_top *top)
{
	return top->timer_fd;
}
