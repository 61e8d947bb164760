// SPDX-License-Identifier: Apache-2.0
/* A mailbox under fire: two threads post, one takes. Nothing is lost but what a newer item replaced, nothing comes
 * twice, what was written before posting is read after taking, and the last item is always found. */
#include "core/base/mailbox.h"

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>

#include "tests/stress/tap.h"

enum { POSTERS = 2, POSTS = 20000, POSTS_MAX = 100 * POSTS, OVERLAPS = 10 };

struct letter {
	unsigned poster;
	unsigned number;
	unsigned check; /* not atomic: the mailbox orders it */
};

struct mailbox_fixture {
	struct mailbox mailbox;
	pthread_barrier_t start;
	_Atomic unsigned taken; /* so that posters can see the taker at work */
	_Atomic unsigned running;
};

struct poster {
	struct mailbox_fixture *fixture;
	unsigned index;
	unsigned posted, replaced;
	unsigned overlapped; /* posts between which the taker took something */
};

/* On a busy machine all may be posted before the taker gets a CPU: then it goes on until they met. */
static void *post(void *argument)
{
	struct poster *poster = argument;
	struct mailbox_fixture *fixture = poster->fixture;
	unsigned seen = 0;
	pthread_barrier_wait(&fixture->start);
	for (unsigned i = 1; i <= POSTS || (poster->overlapped <= OVERLAPS && i <= POSTS_MAX); i++) {
		struct letter *letter = malloc(sizeof *letter);
		*letter = (struct letter){.poster = poster->index, .number = i, .check = i ^ 0x5a5a5a5au};
		struct letter *replaced = mailbox_post(&fixture->mailbox, letter);
		poster->posted = i;
		poster->replaced += replaced != NULL;
		free(replaced);
		unsigned taken = atomic_load_explicit(&fixture->taken, memory_order_relaxed);
		poster->overlapped += taken != seen;
		seen = taken;
	}
	atomic_fetch_sub_explicit(&fixture->running, 1, memory_order_release);
	uint64_t one = 1;
	ssize_t written = write(fixture->mailbox.fd, &one, sizeof one); /* the taker shall see that it is over */
	(void)written;
	return NULL;
}

struct findings {
	unsigned taken;
	unsigned wrong, disordered;
};

static void read_letter(const struct letter *letter, struct findings *findings, unsigned last[POSTERS])
{
	findings->taken++;
	findings->wrong += letter->check != (letter->number ^ 0x5a5a5a5au);
	findings->disordered += letter->number <= last[letter->poster];
	last[letter->poster] = letter->number;
}

/* Sleeps in poll() as the control loop does; a wake-up that got lost would end it by the time-out. Whether it is over
 * is asked after the mailbox was found empty: taking swallows wake-ups, the last poster's among them. */
static bool take_all(struct mailbox_fixture *fixture, struct findings *findings)
{
	unsigned last[POSTERS] = {0};
	bool over = false;
	for (;;) {
		struct letter *letter = mailbox_take(&fixture->mailbox);
		if (letter != NULL) {
			read_letter(letter, findings, last);
			atomic_fetch_add_explicit(&fixture->taken, 1, memory_order_relaxed);
			free(letter);
			continue;
		}
		if (over)
			return true;
		over = atomic_load_explicit(&fixture->running, memory_order_acquire) == 0;
		struct pollfd polled = {.fd = fixture->mailbox.fd, .events = POLLIN};
		if (!over && poll(&polled, 1, 20000) == 0)
			return false;
	}
}

static void many_threads(struct tap *tap)
{
	struct mailbox_fixture fixture = {.running = POSTERS};
	struct poster posters[POSTERS];
	pthread_t threads[POSTERS];
	struct findings findings = {0};
	tap_ok(tap, mailbox_init(&fixture.mailbox) == 0, "a mailbox opens");
	pthread_barrier_init(&fixture.start, NULL, POSTERS + 1);
	for (unsigned i = 0; i < POSTERS; i++) {
		posters[i] = (struct poster){.fixture = &fixture, .index = i};
		if (pthread_create(&threads[i], NULL, post, &posters[i]) != 0)
			abort();
	}
	pthread_barrier_wait(&fixture.start);
	bool woken = take_all(&fixture, &findings);
	unsigned posted = 0, replaced = 0, overlapped = 0;
	for (unsigned i = 0; i < POSTERS; i++) {
		pthread_join(threads[i], NULL);
		posted += posters[i].posted;
		replaced += posters[i].replaced;
		overlapped += posters[i].overlapped;
	}
	printf("# %u taken, %u replaced, the taker was seen at work %u times\n", findings.taken, replaced, overlapped);
	tap_ok(tap, woken, "every wake-up came");
	tap_ok(tap, findings.wrong == 0, "what was written is read");
	tap_ok(tap, findings.disordered == 0, "no letter comes twice or after a newer one of its sender");
	tap_ok(tap, findings.taken + replaced == posted, "each letter was taken or came back");
	tap_ok(tap, overlapped > OVERLAPS, "the threads overlapped");
	tap_ok(tap, mailbox_deinit(&fixture.mailbox) == NULL, "nothing is left");
	pthread_barrier_destroy(&fixture.start);
}

static bool readable(const struct mailbox *mailbox)
{
	struct pollfd polled = {.fd = mailbox->fd, .events = POLLIN};
	return poll(&polled, 1, 0) == 1;
}

/* The taker may come between the poster's exchange and its wake-up. */
static void late_wake_up(struct tap *tap)
{
	struct mailbox mailbox;
	int item;
	uint64_t one = 1;
	tap_ok(tap, mailbox_init(&mailbox) == 0 && !readable(&mailbox), "a new mailbox is quiet");
	tap_ok(tap, mailbox_post(&mailbox, &item) == NULL && readable(&mailbox), "posting wakes");
	tap_ok(tap, mailbox_take(&mailbox) == &item && !readable(&mailbox), "taking makes quiet");
	tap_ok(tap, write(mailbox.fd, &one, sizeof one) == sizeof one && readable(&mailbox), "a wake-up comes late");
	tap_ok(tap, mailbox_take(&mailbox) == NULL && !readable(&mailbox), "it wakes once and not for ever");
	(void)mailbox_deinit(&mailbox);
}

int main(void)
{
	struct tap tap = {0};
	late_wake_up(&tap);
	many_threads(&tap);
	return tap_done(&tap);
}
