// SPDX-License-Identifier: Apache-2.0
/* The steps between an old process and a new one, in processes of their own that crash, stop and are late at each of
 * them: one serves in the end, and never two. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/handover/takeover.h"
#include "core/handover/word.h"
#include "core/handover/writer.h"
#include "workers/freeze.h"

TestSuite(takeover, .timeout = 120);

enum {
	MANY = 600, /* descriptors: three messages */
	LATE_MS = 200,
	PATIENCE_MS = 60000,
};
static const char layout[] = "workers 4\nport 5555\n";
static const struct takeover_party party = {.layout = layout, .device = 1, .inode = 2, .watchdog = 30 * NS_PER_S};

static void sockets(int pair[2])
{
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
}

static void pause_ms(unsigned ms)
{
	const struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
	nanosleep(&time, NULL);
}

/* --- descriptors -------------------------------------------------------------------------------------------------- */

static ino_t inode(int fd)
{
	struct stat status;
	return fstat(fd, &status) == 0 ? status.st_ino : 0;
}

Test(takeover, descriptors_come_in_parts_and_in_order)
{
	int pair[2];
	struct takeover_descriptor *list = calloc(MANY, sizeof *list);
	struct takeover_given got;
	struct error error;
	sockets(pair);
	for (unsigned i = 0; i < MANY; i++) {
		(void)snprintf(list[i].name, sizeof list[i].name, "udp.0.%u", i);
		list[i].fd = memfd_create("one of many", MFD_CLOEXEC);
		cr_assert_geq(list[i].fd, 0);
	}
	pid_t child = fork();
	if (child == 0) {
		close(pair[0]);
		if (takeover_ask(pair[1], &party, &got, &error) != 0 || got.count != MANY ||
		    got.watchdog != party.watchdog)
			_exit(1);
		for (unsigned i = 0; i < MANY; i++) {
			if (strcmp(got.list[i].name, list[i].name) != 0 || inode(got.list[i].fd) != inode(list[i].fd) ||
			    (fcntl(got.list[i].fd, F_GETFD) & FD_CLOEXEC) == 0)
				_exit(2);
		}
		_exit(0);
	}
	close(pair[1]);
	for (unsigned waited = 0; waited < PATIENCE_MS; waited++) {
		char byte;
		if (recv(pair[0], &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0)
			break;
		pause_ms(1);
	}
	cr_assert_eq(takeover_answer(pair[0], &party, list, MANY, &error), 0, "%s", error.text);
	int status;
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert_eq(status, 0);
	for (unsigned i = 0; i < MANY; i++) {
		cr_assert_eq(inode(list[i].fd) == 0, false, "they stay open here");
		close(list[i].fd);
	}
	free(list);
	close(pair[0]);
}

/* --- refusals ----------------------------------------------------------------------------------------------------- */

static void put_hello(int fd, uint32_t version, uint32_t records, const char *text)
{
	struct channel_message *message = calloc(1, sizeof *message);
	message->kind = CHANNEL_HELLO;
	memcpy(message->payload, &version, 4);
	memcpy(message->payload + 4, &records, 4); /* no program, flags or manager */
	strcpy((char *)message->payload + 40, text);
	message->length = (uint32_t)(40 + strlen(text) + 1);
	cr_assert_eq(channel_send(fd, message, NULL), 0);
	free(message);
}

static void check_refusal(int pair[2], int code, const char *text)
{
	const struct takeover_descriptor one = {"control", 0};
	struct channel_message *message = calloc(1, sizeof *message);
	struct error error;
	cr_assert_eq(takeover_answer(pair[0], &party, &one, 1, &error), code);
	cr_assert(strstr(error.text, text) != NULL, "%s", error.text);
	cr_assert_eq(channel_receive(pair[1], CHANNEL_DESCRIPTORS, message, 0, &error), -ECONNREFUSED);
	cr_assert(strstr(error.text, text) != NULL, "the new one has the same line: %s", error.text);
	free(message);
	close(pair[0]);
	close(pair[1]);
}

Test(takeover, what_cannot_be_is_refused_in_one_line)
{
	int pair[2];
	sockets(pair);
	put_hello(pair[1], TAKEOVER_VERSION + 1, HANDOVER_VERSION, layout);
	check_refusal(pair, -EPROTONOSUPPORT, "speaks version 2, this one version 1");
	sockets(pair);
	put_hello(pair[1], TAKEOVER_VERSION, HANDOVER_VERSION + 1, layout);
	check_refusal(pair, -EPROTONOSUPPORT, "reads records of version 2, this one writes version 1");
	sockets(pair);
	put_hello(pair[1], TAKEOVER_VERSION, HANDOVER_VERSION, "workers 5\n");
	check_refusal(pair, -ENOTUNIQ, "layout");
	sockets(pair);
	cr_assert_eq(send(pair[1], "x", 1, 0), 1);
	check_refusal(pair, -EPROTO, "none");
	sockets(pair);
	check_refusal(pair, -ETIMEDOUT, "does not answer");
}

/* A list of so many, all the same. */
static struct takeover_descriptor *alike(size_t count, int fd)
{
	struct takeover_descriptor *list = calloc(count, sizeof *list);
	for (size_t i = 0; i < count; i++)
		list[i] = (struct takeover_descriptor){"one of many", fd};
	return list;
}

Test(takeover, more_descriptors_than_the_new_one_takes_are_refused)
{
	struct takeover_descriptor *list = alike(TAKEOVER_DESCRIPTORS_MAX + 1, STDERR_FILENO);
	struct channel_message *message = calloc(1, sizeof *message);
	struct error error;
	int pair[2];
	sockets(pair);
	put_hello(pair[1], TAKEOVER_VERSION, HANDOVER_VERSION, layout);
	cr_assert_eq(takeover_answer(pair[0], &party, list, TAKEOVER_DESCRIPTORS_MAX + 1, &error), -E2BIG);
	cr_assert_eq(channel_receive(pair[1], CHANNEL_DESCRIPTORS, message, 0, &error), -ECONNREFUSED);
	cr_assert(strstr(error.text, "at most 4096 are given") != NULL, "%s", error.text);
	free(message);
	free(list);
	close(pair[0]);
	close(pair[1]);
}

/* The new process begins to read when the socket is full. */
Test(takeover, descriptors_wait_for_room)
{
	static const int small = 16384;
	struct takeover_descriptor *list = alike(MANY, STDERR_FILENO);
	struct channel_message *message = calloc(1, sizeof *message);
	struct error error;
	int pair[2], status;
	sockets(pair);
	cr_assert_eq(setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small), 0);
	put_hello(pair[1], TAKEOVER_VERSION, HANDOVER_VERSION, layout);
	pid_t child = fork();
	if (child == 0) {
		pause_ms(LATE_MS);
		for (size_t count = 0; count < MANY; count += message->fd_count, channel_close_descriptors(message)) {
			if (channel_receive(pair[1], CHANNEL_DESCRIPTORS, message, PATIENCE_MS, &error) != 0)
				_exit(1);
		}
		_exit(0);
	}
	cr_assert_eq(takeover_answer(pair[0], &party, list, MANY, &error), 0, "%s", error.text);
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert_eq(status, 0);
	free(message);
	free(list);
	close(pair[0]);
	close(pair[1]);
}

Test(takeover, another_users_process_gets_nothing)
{
	int pair[2];
	if (geteuid() != 0) {
		cr_skip_test("root can be two users");
		return;
	}
	cr_assert_eq(seteuid(65534), 0);
	sockets(pair);
	cr_assert_eq(seteuid(0), 0);
	put_hello(pair[1], TAKEOVER_VERSION, HANDOVER_VERSION, layout);
	check_refusal(pair, -EPERM, "of user 65534");
}

/* As one that is refused before its request comes. */
Test(takeover, who_is_refused_at_once_gets_the_reason)
{
	int pair[2];
	struct takeover_given given;
	struct error error;
	sockets(pair);
	channel_refuse(pair[0], "take-over: not now");
	close(pair[0]);
	cr_assert_eq(takeover_ask(pair[1], &party, &given, &error), -ECONNREFUSED);
	cr_assert_str_eq(error.text, "take-over: not now");
	close(pair[1]);
}

/* Returns what the new process gets; the old one is of a service manager. */
static int answer_to(const struct takeover_party *new, int *answered)
{
	const struct takeover_descriptor one = {"control", 0};
	struct takeover_party old = party;
	struct takeover_given given;
	struct error error;
	int pair[2], status;
	old.manager = 5;
	sockets(pair);
	pid_t child = fork();
	if (child == 0)
		_exit(-takeover_ask(pair[1], new, &given, &error));
	close(pair[1]);
	char byte;
	cr_assert_eq(recv(pair[0], &byte, 1, MSG_PEEK), 1);
	*answered = takeover_answer(pair[0], &old, &one, 1, &error);
	cr_assert_eq(waitpid(child, &status, 0), child);
	close(pair[0]);
	return -WEXITSTATUS(status);
}

Test(takeover, a_reload_by_the_same_program_takes_nothing)
{
	int answered;
	struct takeover_party new = party;
	new.manager = 5;
	new.reload = true;
	cr_assert_eq(answer_to(&new, &answered), -EALREADY);
	cr_assert_eq(answered, -EALREADY);
	new.inode++;
	cr_assert_eq(answer_to(&new, &answered), 0, "another one takes over");
	new.inode--;
	new.device++;
	cr_assert_eq(answer_to(&new, &answered), 0);
	new = party;
	new.manager = 5;
	cr_assert_eq(answer_to(&new, &answered), 0, "as the same one does that is told to");
}

/* What the new process gets after that. */
static int await_reload(const struct error *failure, struct error *error)
{
	int pair[2];
	sockets(pair);
	takeover_tell_reloaded(pair[0], failure);
	close(pair[0]);
	int result = takeover_await_reload(pair[1], PATIENCE_MS, error);
	close(pair[1]);
	return result;
}

Test(takeover, a_reload_ends_with_its_outcome)
{
	const struct error failure = {.text = "gateway.conf:7: Nonsense"};
	struct error error;
	int pair[2];
	cr_assert_eq(await_reload(NULL, &error), 0);
	cr_assert_eq(await_reload(&failure, &error), -ECONNREFUSED);
	cr_assert_str_eq(error.text, failure.text);
	sockets(pair);
	cr_assert_eq(takeover_await_reload(pair[1], 1, &error), -ETIMEDOUT);
	close(pair[0]);
	cr_assert_eq(takeover_await_reload(pair[1], PATIENCE_MS, &error), -ECONNRESET, "it is gone without a word");
	close(pair[1]);
}

Test(takeover, a_process_that_the_manager_does_not_have_gets_nothing)
{
	int answered;
	struct takeover_party new = party;
	cr_assert_eq(answer_to(&new, &answered), -ECONNREFUSED);
	cr_assert_eq(answered, -EPERM);
	new.manager = 6; /* it has another one */
	cr_assert_eq(answer_to(&new, &answered), -ECONNREFUSED);
	cr_assert_eq(answered, -EPERM);
}

Test(takeover, the_watchdog_outlives_the_wait)
{
	cr_assert_eq(takeover_claim_ms(0, 0), TAKEOVER_CLAIM_MS);
	cr_assert_eq(takeover_claim_ms(100000, 30 * NS_PER_S), 5500);
	cr_assert_eq(takeover_claim_ms(1 << 20, 0), 52928);
	cr_assert_eq(takeover_claim_ms(1 << 20, 30 * NS_PER_S), 15000);
}

/* --- refused at the end ------------------------------------------------------------------------------------------- */

static int do_not(void *context, struct error *error)
{
	(void)context;
	return error_set(error, -EBUSY, "take-over: peers changed");
}

/* Nothing is written then. */
Test(takeover, one_at_a_bad_time_gets_the_reason)
{
	static const struct takeover_owner owner = {.freeze = do_not};
	int pair[2], status;
	struct error error;
	sockets(pair);
	pid_t child = fork();
	if (child == 0) {
		struct handover_memory memory;
		int result = takeover_receive(pair[1], &memory, PATIENCE_MS, &error);
		_exit(result == -ECONNREFUSED && strcmp(error.text, "take-over: peers changed") == 0 ? 0 : 1);
	}
	close(pair[1]);
	char byte;
	cr_assert_eq(recv(pair[0], &byte, 1, MSG_PEEK), 1);
	cr_assert_eq(takeover_hand_over(pair[0], &owner, LATE_MS, &error), TAKEOVER_KEPT);
	cr_assert_str_eq(error.text, "take-over: peers changed");
	close(pair[0]);
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert_eq(status, 0);
}

/* --- both processes ----------------------------------------------------------------------------------------------- */

/* What each of two processes does at a step, instead of going on. */
enum fault { NO_FAULT, DIES, LATE /* sleeps, and then goes on */ };
enum step {
	NEW_CONNECTED,
	NEW_HAS_DESCRIPTORS,
	NEW_HAS_RECORDS,
	NEW_OWNS,
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

static int write_records(void *context, struct handover_memory *memory, struct error *error)
{
	(void)context;
	at(OLD_WRITES);
	int result = handover_memory_new(memory, 4096, error);
	if (result != 0)
		return result;
	handover_head_write(memory->bytes, sizeof(struct handover_head), 0);
	result = handover_memory_seal(memory, 4096, error);
	at(OLD_HAS_WRITTEN);
	return result;
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
	static const struct takeover_owner owner = {.freeze = stand_still, .write = write_records, .thaw = go_on};
	const struct takeover_descriptor one = {"control", fd};
	struct error error;
	enum takeover_result result = TAKEOVER_KEPT;
	if (readable(fd) && takeover_answer(fd, &party, &one, 1, &error) == 0 && readable(fd))
		result = takeover_hand_over(fd, &owner, LATE_MS / 4, &error);
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
	close(given.list[0].fd);
	at(NEW_HAS_DESCRIPTORS);
	if (takeover_receive(fd, &memory, TAKEOVER_ANSWER_MS, &error) != 0)
		_exit(11);
	at(OLD_OFFERED);
	at(NEW_HAS_RECORDS);
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

Test(takeover, the_new_one_serves)
{
	share();
	for (unsigned i = 0; i < 5; i++) {
		cr_assert_eq(take_over(STEPS, NO_FAULT), 2);
		cr_assert_eq(shared->twice, 0);
	}
}

/* 0: none is left, and the service manager starts one anew. */
Test(takeover, a_crash_leaves_one_that_serves)
{
	static const unsigned left[STEPS] = {
		[NEW_CONNECTED] = 1, [NEW_HAS_DESCRIPTORS] = 1, [NEW_HAS_RECORDS] = 1, [NEW_OWNS] = 0,
		[OLD_FREEZES] = 0,   [OLD_WRITES] = 0,		[OLD_HAS_WRITTEN] = 0, [OLD_OFFERED] = 2,
	};
	share();
	for (unsigned step = 0; step < STEPS; step++) {
		cr_assert_eq(take_over((enum step)step, DIES), left[step], "step %u", step);
		cr_assert_eq(shared->twice, 0, "step %u", step);
	}
}

/* The old one waited for a quarter of the time for which the new one is late. */
Test(takeover, a_late_one_does_not_get_what_was_taken_back)
{
	static const unsigned left[STEPS] = {
		[NEW_CONNECTED] = 2, [NEW_HAS_DESCRIPTORS] = 2, [NEW_HAS_RECORDS] = 1, [NEW_OWNS] = 2,
		[OLD_FREEZES] = 2,   [OLD_WRITES] = 2,		[OLD_HAS_WRITTEN] = 2, [OLD_OFFERED] = 1,
	};
	share();
	for (unsigned step = 0; step < STEPS; step++) {
		cr_assert_eq(take_over((enum step)step, LATE), left[step], "step %u", step);
		cr_assert_eq(shared->twice, 0, "step %u", step);
	}
}

/* Else the manager ends the new process as a remainder of the old one, and that end is not for good. */
Test(takeover, the_new_one_learns_whether_the_manager_has_it)
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

/* --- the threads of the new process ------------------------------------------------------------------------------- */

/* The sockets are the old one's still: a thread that is late must not run on them when the others gave up. */
Test(takeover, a_parked_thread_that_is_late_does_not_go_on)
{
	static struct event_loop first, late;
	struct event_loop *loops[] = {&first, &late};
	const struct freeze_kind kinds[] = {{&loops[0], 1}, {&loops[1], 1}};
	cr_assert_eq(event_loop_init(&first, 0, NS_PER_S), 0);
	cr_assert_eq(event_loop_init(&late, 0, NS_PER_S), 0);
	event_loop_freeze(&first);
	event_loop_freeze(&late);
	/* As the thread says it that stands. */
	atomic_store(&first.frozen, atomic_load(&first.order));
	cr_assert_not(freeze_wait(kinds, ARRAY_SIZE(kinds), &clock_system, NS_PER_MS));
	cr_assert_not(event_loop_running(&first));
	cr_assert(event_loop_frozen(&first), "what it owns is still the caller's");
	cr_assert_not(event_loop_running(&late));
	atomic_store(&late.frozen, atomic_load(&late.order));
	cr_assert(freeze_wait(kinds, ARRAY_SIZE(kinds), &clock_system, NS_PER_MS));
	cr_assert(event_loop_frozen(&late));
	event_loop_deinit(&first);
	event_loop_deinit(&late);
}
