// SPDX-License-Identifier: Apache-2.0
/* The steps between an old process and a new one, in processes of their own that crash, stop and are late at each of
 * them: one serves in the end, and never two. */
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/handover/word.h"
#include "core/handover/writer.h"
#include "tests/unit/takeover_pair.h"

TestSuite(takeover_steps, .timeout = 120);

/* --- refused at the end ------------------------------------------------------------------------------------------- */

static int do_not(void *context, struct error *error)
{
	(void)context;
	return error_set(error, -EBUSY, "take-over: peers changed");
}

static int do_not_export(void *context, const struct handover_memory **memory, struct error *error)
{
	(void)memory;
	return do_not(context, error);
}

static int do_nothing(void *context, struct error *error)
{
	(void)context, (void)error;
	return 0;
}

static unsigned thaws;

static void count_thaw(void *context)
{
	(void)context;
	thaws++;
}

/* The old one refuses at the step that its owner fails at; the new one gets the reason. */
static void refuse_at(const struct takeover_owner *owner, bool exports)
{
	int pair[2], status;
	struct error error;
	struct handover_memory memory = {.fd = -1};
	sockets(pair);
	pid_t child = fork();
	if (child == 0) {
		int result = exports ? takeover_receive(pair[1], &memory, PATIENCE_MS, &error)
				     : takeover_await_offer(pair[1], PATIENCE_MS, &error);
		_exit(result == -ECONNREFUSED && strcmp(error.text, "take-over: peers changed") == 0 ? 0 : 1);
	}
	close(pair[1]);
	char byte;
	cr_assert_eq(recv(pair[0], &byte, 1, MSG_PEEK), 1);
	if (exports)
		cr_assert_eq(takeover_export(pair[0], owner, &error), -EBUSY);
	else
		cr_assert_eq(takeover_hand_over(pair[0], owner, &memory, LATE_MS, &error), TAKEOVER_KEPT);
	cr_assert_str_eq(error.text, "take-over: peers changed");
	close(pair[0]);
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert_eq(status, 0);
}

/* Nothing is written then. */
Test(takeover_steps, one_at_a_bad_time_gets_the_reason)
{
	refuse_at(&(struct takeover_owner){.export = do_not_export}, true);
	refuse_at(&(struct takeover_owner){.freeze = do_not}, false);
	cr_assert_eq(thaws, 0);
	refuse_at(&(struct takeover_owner){.freeze = do_nothing, .follow = do_not, .thaw = count_thaw}, false);
	cr_assert_eq(thaws, 1, "what stood still goes on");
}

/* --- both processes ----------------------------------------------------------------------------------------------- */

/* What each of two processes does at a step, instead of going on. */
enum fault { NO_FAULT, DIES, LATE /* sleeps, and then goes on */ };
enum step {
	NEW_CONNECTED,
	NEW_HAS_DESCRIPTORS,
	NEW_HAS_RECORDS,
	NEW_HAS_OFFER,
	NEW_OWNS,
	OLD_EXPORTS,
	OLD_HAS_EXPORTED,
	OLD_FREEZES,
	OLD_WRITES,
	OLD_HAS_WRITTEN,
	OLD_OFFERED, /* the new one sees that and kills it */
	STEPS
};

struct shared {
	_Atomic bool serves[2]; /* the old one, the new one */
	_Atomic unsigned twice; /* both did */
};

static struct shared *shared;
static enum step fault_at;
static enum fault fault;
static pid_t old_process;

static void at(enum step step)
{
	if (fault_at != step || fault == NO_FAULT)
		return;
	if (fault == LATE)
		pause_ms(LATE_MS);
	else if (step == OLD_OFFERED)
		(void)kill(old_process, SIGKILL);
	else
		(void)raise(SIGKILL);
}

static void serve(unsigned which)
{
	atomic_store(&shared->serves[which], true);
	if (atomic_load(&shared->serves[1 - which]))
		atomic_fetch_add(&shared->twice, 1);
}

static int stand_still(void *context, struct error *error)
{
	(void)context, (void)error;
	at(OLD_FREEZES);
	atomic_store(&shared->serves[0], false);
	return 0;
}

static struct handover_memory exported;

static int write_records(void *context, const struct handover_memory **memory, struct error *error)
{
	(void)context;
	at(OLD_EXPORTS);
	int result = handover_memory_new(&exported, 4096, error);
	if (result != 0)
		return result;
	handover_head_write(exported.bytes, sizeof(struct handover_head), 0, 0, 0);
	result = handover_memory_seal(&exported, 4096, error);
	*memory = &exported;
	at(OLD_HAS_EXPORTED);
	return result;
}

static int write_moved(void *context, struct error *error)
{
	(void)context, (void)error;
	at(OLD_WRITES);
	at(OLD_HAS_WRITTEN);
	return 0;
}

static void go_on(void *context)
{
	(void)context;
	serve(0);
}

static bool readable(int fd)
{
	char byte;
	for (unsigned waited = 0; waited < PATIENCE_MS; waited++, pause_ms(1)) {
		ssize_t got = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
		if (got >= 0)
			return got > 0;
	}
	return false;
}

/* Serves on for ever if the sessions are its own. */
static _Noreturn void be_old(int fd)
{
	static const struct takeover_owner owner = {
		.export = write_records, .freeze = stand_still, .follow = write_moved, .thaw = go_on};
	struct descriptor_list one;
	struct error error;
	enum takeover_result result = TAKEOVER_KEPT;
	list_alike(&one, 1, "control", fd);
	if (readable(fd) && answer_and_give(fd, &party, &one, &error) == 0 && readable(fd) &&
	    takeover_export(fd, &owner, &error) == 0 && readable(fd))
		result = takeover_hand_over(fd, &owner, &exported, LATE_MS / 4, &error);
	close(fd);
	if (result == TAKEOVER_GIVEN)
		_exit(1);
	for (;;)
		pause();
}

/* The same. */
static _Noreturn void be_new(int fd)
{
	struct takeover_given given;
	struct handover_memory memory;
	struct error error;
	at(NEW_CONNECTED);
	if (takeover_ask(fd, &party, &given, &error) != 0)
		_exit(10);
	descriptor_list_close(&given.list);
	at(NEW_HAS_DESCRIPTORS);
	if (takeover_receive(fd, &memory, TAKEOVER_ANSWER_MS, &error) != 0)
		_exit(11);
	at(NEW_HAS_RECORDS);
	if (takeover_await_offer(fd, TAKEOVER_ANSWER_MS, &error) != 0)
		_exit(13);
	at(OLD_OFFERED);
	at(NEW_HAS_OFFER);
	if (!handover_claim(&memory))
		_exit(12);
	serve(1);
	handover_memory_wipe(&memory);
	at(NEW_OWNS);
	for (;;)
		pause();
}

/* Whether the process lives on as the one that serves; it is ended. */
static bool lives(pid_t process)
{
	int status;
	bool alive = waitpid(process, &status, WNOHANG) == 0;
	if (alive) {
		(void)kill(process, SIGKILL);
		(void)waitpid(process, &status, 0);
	}
	return alive;
}

/* Waits until one of the two serves, or none is left; says which: 1 old, 2 new. */
static unsigned outcome(pid_t new_process)
{
	unsigned owner = 0, same = 0;
	for (unsigned waited = 0; waited < PATIENCE_MS && same < 2 * LATE_MS; waited++, pause_ms(1)) {
		unsigned now = (atomic_load(&shared->serves[0]) ? 1u : 0) | (atomic_load(&shared->serves[1]) ? 2u : 0);
		same = now == owner ? same + 1 : 0;
		owner = now;
	}
	bool old_lives = lives(old_process), new_lives = lives(new_process);
	return (old_lives ? owner & 1 : 0) | (new_lives ? owner & 2 : 0);
}

static unsigned take_over(enum step step, enum fault what)
{
	int pair[2];
	fault_at = step;
	fault = what;
	*shared = (struct shared){.serves = {true}};
	sockets(pair);
	old_process = fork();
	if (old_process == 0) {
		close(pair[1]);
		be_old(pair[0]);
	}
	pid_t new_process = fork();
	if (new_process == 0) {
		close(pair[0]);
		be_new(pair[1]);
	}
	close(pair[0]);
	close(pair[1]);
	return outcome(new_process);
}

static void share(void)
{
	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	cr_assert_neq(shared, MAP_FAILED);
}

Test(takeover_steps, the_new_one_serves)
{
	share();
	for (unsigned i = 0; i < 5; i++) {
		cr_assert_eq(take_over(STEPS, NO_FAULT), 2);
		cr_assert_eq(shared->twice, 0);
	}
}

/* 0: none is left, and the service manager starts one anew. */
Test(takeover_steps, a_crash_leaves_one_that_serves)
{
	static const unsigned left[STEPS] = {
		[NEW_CONNECTED] = 1, [NEW_HAS_DESCRIPTORS] = 1, [NEW_HAS_RECORDS] = 1,	[NEW_HAS_OFFER] = 1,
		[NEW_OWNS] = 0,	     [OLD_EXPORTS] = 0,		[OLD_HAS_EXPORTED] = 0, [OLD_FREEZES] = 0,
		[OLD_WRITES] = 0,    [OLD_HAS_WRITTEN] = 0,	[OLD_OFFERED] = 2,
	};
	share();
	for (unsigned step = 0; step < STEPS; step++) {
		cr_assert_eq(take_over((enum step)step, DIES), left[step], "step %u", step);
		cr_assert_eq(shared->twice, 0, "step %u", step);
	}
}

/* The old one waited for a quarter of the time for which the new one is late. */
Test(takeover_steps, a_late_one_does_not_get_what_was_taken_back)
{
	static const unsigned left[STEPS] = {
		[NEW_CONNECTED] = 2, [NEW_HAS_DESCRIPTORS] = 2, [NEW_HAS_RECORDS] = 2,	[NEW_HAS_OFFER] = 1,
		[NEW_OWNS] = 2,	     [OLD_EXPORTS] = 2,		[OLD_HAS_EXPORTED] = 2, [OLD_FREEZES] = 2,
		[OLD_WRITES] = 2,    [OLD_HAS_WRITTEN] = 2,	[OLD_OFFERED] = 1,
	};
	share();
	for (unsigned step = 0; step < STEPS; step++) {
		cr_assert_eq(take_over((enum step)step, LATE), left[step], "step %u", step);
		cr_assert_eq(shared->twice, 0, "step %u", step);
	}
}

/* Else the manager ends the new process as a remainder of the old one, and that end is not for good. */
Test(takeover_steps, the_new_one_learns_whether_the_manager_has_it)
{
	int pair[2];
	sockets(pair);
	cr_assert_not(takeover_was_told(pair[1], 1), "nothing came so far");
	takeover_tell(pair[0]);
	close(pair[0]);
	cr_assert(takeover_was_told(pair[1], 0));
	cr_assert_not(takeover_was_told(pair[1], PATIENCE_MS), "once");
	close(pair[1]);
	sockets(pair);
	close(pair[0]);
	cr_assert_not(takeover_was_told(pair[1], PATIENCE_MS), "it died before");
	close(pair[1]);
}
