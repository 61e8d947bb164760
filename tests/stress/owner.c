// SPDX-License-Identifier: Apache-2.0
/* What belongs to one thread and is changed by another ends the process, and says which and whose: each struct of the
 * data path in a process of its own. In a build without the check nothing is there. (core/base/owner.h) */
#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/harness/frames.h"
#include "tests/harness/harness.h"
#include "tests/stress/tap.h"
#include "workers/downlink.h"
#include "workers/intake.h"

/* One of each, which all belong to the thread of `owner`. */
struct things {
	struct owner owner;
	struct harness *harness;
	struct worker *worker; /* a gateway's */
	struct tun_reader *reader;
	struct session *session; /* made here */
	struct transport_key *key;
	struct frame_pool *pool;
	struct copy_ring *copies;
	struct replay_window window;
	struct timer timer;
	struct inbox_message message;
};

static void set_up(struct things *things)
{
	struct noise_keys secrets = {0};
	things->harness = harness_new(&(struct harness_options){.clients = 1, .workers = 1, .reader = true});
	if (!harness_up(things->harness))
		abort();
	things->worker = harness_gateway_worker(things->harness, 0);
	things->reader = things->harness->gateway.reader;
	things->session = session_new(7, 0);
	things->key = transport_key_new(things->worker->aead, AEAD_CHACHA20_POLY1305, 1, &secrets, TRANSPORT_GATEWAY,
					0);
	things->pool = frame_pool_new(
		&(struct frame_pool_params){.workers = 1, .slots_per_worker = 2, .ring_entries = 2});
	things->copies = copy_ring_new(2, 1400, NULL);
	if (things->session == NULL || things->key == NULL || things->pool == NULL || things->copies == NULL)
		abort();
	owner_follow(&things->worker->loop.owner, &things->owner);
	owner_follow(&things->reader->loop.owner, &things->owner);
	owner_follow(&things->session->owner, &things->owner);
	owner_follow(&things->window.owner, &things->owner);
	session_set_next(things->session, things->key, 0);
	frame_pool_own(things->pool, &things->owner);
	frame_ring_own(frame_pool_ring(things->pool, 0), &things->owner);
	copy_ring_own(things->copies, &things->owner);
}

static void tear_down(struct things *things)
{
	owner_clear(&things->worker->loop.owner);
	owner_clear(&things->reader->loop.owner);
	copy_ring_free(things->copies);
	frame_pool_free(things->pool);
	session_free(things->session);
	harness_free(things->harness);
}

/* --- what may not be done to what is another's -------------------------------------------------------------------- */

static void seal(struct things *things)
{
	uint8_t message[WIRE_OVERHEAD + 1 + AEAD_INPUT_SLACK];
	transport_seal(things->worker->aead, things->key, 7, WIRE_DATA, (const uint8_t[1 + AEAD_INPUT_SLACK]){0}, 1,
		       message);
}

static void wake_key(struct things *things)
{
	(void)transport_key_wake(things->worker->aead, things->key);
}

static void accept_counter(struct things *things)
{
	(void)replay_accept(&things->window, 1);
}

static void find_key(struct things *things)
{
	(void)session_key(things->session, 1);
}

static void promote(struct things *things)
{
	(void)session_promote(things->session);
}

static void end_session(struct things *things)
{
	worker_end_session(things->worker, cds_list_first_entry(&things->worker->sessions, struct session, node));
}

static void reserve(struct things *things)
{
	(void)send_queue_reserve(&things->worker->send, 0, false, &(struct endpoint){0}, 0, 100);
}

static void flush(struct things *things)
{
	send_queue_flush(&things->worker->send, things->worker->udp, &things->worker->loop.stats);
}

static void take_frames(struct things *things)
{
	size_t count;
	(void)coalescer_frames(things->worker->coalescer, &count);
}

static void arm(struct things *things)
{
	timer_set(&things->worker->wheel, &things->timer, NS_PER_S);
}

static void advance(struct things *things)
{
	(void)timer_wheel_advance(&things->worker->wheel, 0, NULL, NULL, 1);
}

static void count(struct things *things)
{
	stats_add(&things->worker->loop.stats, sleeps, 1);
}

static void count_drop(struct things *things)
{
	stats_drop(&things->reader->loop.stats, DROP_RUNT, 1);
}

#if SHARDTUN_PROFILE
static void record(struct things *things)
{
	stage_lap(&things->worker->loop.stages, STAGE_OPEN);
}
#endif

static void push(struct things *things)
{
	struct inner packet = frame_unparsed(frame_pool_buffer(things->pool), 100, 0);
	(void)frame_pool_push(things->pool, 0, &packet, 7, 0);
}

static void release(struct things *things)
{
	frame_ring_release(frame_pool_ring(things->pool, 0), 0);
}

static void pop(struct things *things)
{
	copy_ring_pop(things->copies, 0);
}

static void take_message(struct things *things)
{
	(void)inbox_take(&things->worker->inbox);
}

static void receive(struct things *things)
{
	(void)intake_batch(things->worker);
}

static void read_frames(struct things *things)
{
	(void)downlink_batch(things->worker);
}

static void turn(struct things *things)
{
	(void)worker_turn(things->worker);
}

static void turn_reader(struct things *things)
{
	(void)tun_reader_turn(things->reader);
}

static void run_twice(struct things *things)
{
	owner_set(&things->worker->loop.owner);
}

static const struct trespass {
	const char *what; /* as the report has to name it */
	void (*act)(struct things *things);
} trespasses[] = {
	{"key", seal},
	{"key", wake_key},
	{"replay window", accept_counter},
	{"session", find_key},
	{"session", promote},
	{"session", end_session},
	{"send queue", reserve},
	{"send queue", flush},
	{"coalescer", take_frames},
	{"timer wheel", arm},
	{"timer wheel", advance},
	{"counters", count},
	{"counters", count_drop},
#if SHARDTUN_PROFILE
	{"stage histograms", record},
#endif
	{"frame pool", push},
	{"frame ring's consumer end", release},
	{"copy ring's consumer end", pop},
	{"inbox", take_message},
	{"receive buffers", receive},
	{"frame buffer", read_frames},
	{"worker", turn},
	{"TUN reader", turn_reader},
	{"thread object", run_twice},
};

/* --- the owner and the trespasser --------------------------------------------------------------------------------- */

struct rightful {
	struct things *things;
	pthread_barrier_t *owned, *done;
};

/* What is forbidden to others, the owner may: all of it, one after the other. */
static void *own_things(void *argument)
{
	struct rightful *rightful = argument;
	(void)pthread_setname_np(pthread_self(), "rightful");
	rcu_join();
	owner_set(&rightful->things->owner);
	if (rightful->owned == NULL) {
		for (size_t i = 0; i < ARRAY_SIZE(trespasses); i++)
			trespasses[i].act(rightful->things);
	} else {
		pthread_barrier_wait(rightful->owned);
		pthread_barrier_wait(rightful->done);
	}
	owner_clear(&rightful->things->owner);
	rcu_leave();
	return NULL;
}

/* While a thread owns all of it. */
static void trespass_once(struct things *things, const struct trespass *trespass)
{
	pthread_barrier_t owned, done;
	pthread_t thread;
	pthread_barrier_init(&owned, NULL, 2);
	pthread_barrier_init(&done, NULL, 2);
	struct rightful rightful = {things, &owned, &done};
	if (pthread_create(&thread, NULL, own_things, &rightful) != 0)
		abort();
	pthread_barrier_wait(&owned);
	trespass->act(things);
	pthread_barrier_wait(&done);
	pthread_join(thread, NULL);
	pthread_barrier_destroy(&owned);
	pthread_barrier_destroy(&done);
}

static void let_the_owner_act(struct things *things)
{
	pthread_t thread;
	struct rightful rightful = {.things = things};
	if (pthread_create(&thread, NULL, own_things, &rightful) != 0)
		abort();
	pthread_join(thread, NULL);
}

/* In a process of its own; NULL: the owner acts. How it ended, and what it said. */
static int act_apart(const struct trespass *trespass, char *said, size_t size)
{
	int ends[2], status = -1;
	(void)fflush(stdout); /* or the child says it again */
	if (pipe(ends) != 0)
		abort();
	pid_t child = fork();
	if (child < 0)
		abort();
	if (child == 0) {
		static struct things things;
		(void)dup2(ends[1], STDERR_FILENO);
		(void)signal(SIGABRT, SIG_DFL); /* the sanitizers' own would tell a longer story */
		set_up(&things);
		if (trespass != NULL)
			trespass_once(&things, trespass);
		else
			let_the_owner_act(&things);
		tear_down(&things);
		_exit(0);
	}
	close(ends[1]);
	size_t length = 0;
	for (ssize_t got; length < size - 1 && (got = read(ends[0], said + length, size - 1 - length)) > 0;)
		length += (size_t)got;
	said[length] = '\0';
	close(ends[0]);
	(void)waitpid(child, &status, 0);
	return status;
}

/* "owner: send queue: belongs to thread 12 (rightful), but thread 11 (owner) changes it": one line. */
static bool reported(const char *said, const char *what)
{
	char expected[128];
	(void)snprintf(expected, sizeof expected, "owner: %s: belongs to thread ", what);
	const char *end = strchr(said, '\n');
	return strncmp(said, expected, strlen(expected)) == 0 && strstr(said, " (rightful), but thread ") != NULL &&
	       end != NULL && end[1] == '\0';
}

static void judge(struct tap *tap, const struct trespass *trespass, const char *what)
{
	char said[1024];
	int status = act_apart(trespass, said, sizeof said);
	bool good = status == 0 && said[0] == '\0';
	if (SHARDTUN_OWNERS && trespass != NULL)
		good = WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT && reported(said, trespass->what);
	if (!good)
		printf("# status %#x: %s\n", (unsigned)status, said);
	tap_ok(tap, good, what);
}

int main(void)
{
	struct tap tap = {0};
	judge(&tap, NULL, "its owner may do all of it");
	for (size_t i = 0; i < ARRAY_SIZE(trespasses); i++) {
		char what[128];
		(void)snprintf(what, sizeof what, "another changes the %s: %s", trespasses[i].what,
			       SHARDTUN_OWNERS ? "caught" : "no check in this build");
		judge(&tap, &trespasses[i], what);
	}
	return tap_done(&tap);
}
