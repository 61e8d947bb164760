// SPDX-License-Identifier: Apache-2.0
/* What an old process and a new one tell each other at the steps of a take-over, and what is refused. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/handover/format.h"
#include "tests/unit/takeover_pair.h"
#include "workers/freeze.h"

TestSuite(takeover, .timeout = 120);

enum {
	MANY = 600, /* descriptors: three messages */
};

/* --- descriptors -------------------------------------------------------------------------------------------------- */

static ino_t inode(int fd)
{
	struct stat status;
	return fstat(fd, &status) == 0 ? status.st_ino : 0;
}

Test(takeover, descriptors_come_in_parts_and_in_order)
{
	int pair[2];
	struct descriptor_list list = {0};
	struct takeover_given got;
	struct error error;
	sockets(pair);
	for (unsigned i = 0; i < MANY; i++) {
		char name[DESCRIPTOR_NAME_MAX];
		(void)snprintf(name, sizeof name, "udp.0.%u", i);
		int fd = memfd_create("one of many", MFD_CLOEXEC);
		cr_assert(fd >= 0 && descriptor_list_add(&list, name, fd) == 0);
	}
	pid_t child = fork();
	if (child == 0) {
		close(pair[0]);
		if (takeover_ask(pair[1], &party, &got, &error) != 0 || got.list.count != MANY ||
		    got.watchdog != WATCHDOG)
			_exit(1);
		for (unsigned i = 0; i < MANY; i++) {
			const struct descriptor_entry *one = &got.list.entries[i], *other = &list.entries[i];
			if (strcmp(one->name, other->name) != 0 || inode(one->fd) != inode(other->fd) ||
			    (fcntl(one->fd, F_GETFD) & FD_CLOEXEC) == 0)
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
	cr_assert_eq(answer_and_give(pair[0], &party, &list, &error), 0, "%s", error.text);
	int status;
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert_eq(status, 0);
	for (unsigned i = 0; i < MANY; i++) {
		cr_assert_eq(inode(list.entries[i].fd) == 0, false, "they stay open here");
		close(list.entries[i].fd);
	}
	descriptor_list_free(&list);
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
	struct channel_message *message = calloc(1, sizeof *message);
	struct error error;
	cr_assert_eq(takeover_answer(pair[0], &party, &error), code);
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
	check_refusal(pair, -EPROTONOSUPPORT, "speaks version 3, this one version 2");
	sockets(pair);
	put_hello(pair[1], TAKEOVER_VERSION, HANDOVER_VERSION + 1, layout);
	check_refusal(pair, -EPROTONOSUPPORT, "reads records of version 3, this one writes version 2");
	sockets(pair);
	put_hello(pair[1], TAKEOVER_VERSION, HANDOVER_VERSION, "workers 5\n");
	check_refusal(pair, -ENOTUNIQ, "layout");
	sockets(pair);
	cr_assert_eq(send(pair[1], "x", 1, 0), 1);
	check_refusal(pair, -EPROTO, "none");
	sockets(pair);
	check_refusal(pair, -ETIMEDOUT, "does not answer");
}

Test(takeover, more_descriptors_than_the_new_one_takes_are_refused)
{
	struct descriptor_list list;
	struct channel_message *message = calloc(1, sizeof *message);
	struct error error;
	int pair[2];
	sockets(pair);
	list_alike(&list, DESCRIPTOR_LIST_MOST + 1, "one of many", STDERR_FILENO);
	put_hello(pair[1], TAKEOVER_VERSION, HANDOVER_VERSION, layout);
	cr_assert_eq(answer_and_give(pair[0], &party, &list, &error), -E2BIG);
	cr_assert_eq(channel_receive(pair[1], CHANNEL_DESCRIPTORS, message, 0, &error), -ECONNREFUSED);
	cr_assert(strstr(error.text, "at most 4096 are given") != NULL, "%s", error.text);
	free(message);
	descriptor_list_free(&list);
	close(pair[0]);
	close(pair[1]);
}

/* The new process begins to read when the socket is full. */
Test(takeover, descriptors_wait_for_room)
{
	static const int small = 16384;
	struct descriptor_list list;
	struct channel_message *message = calloc(1, sizeof *message);
	struct error error;
	int pair[2], status;
	sockets(pair);
	list_alike(&list, MANY, "one of many", STDERR_FILENO);
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
	cr_assert_eq(answer_and_give(pair[0], &party, &list, &error), 0, "%s", error.text);
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert_eq(status, 0);
	free(message);
	descriptor_list_free(&list);
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
	struct descriptor_list one;
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
	list_alike(&one, 1, "control", 0);
	*answered = answer_and_give(pair[0], &old, &one, &error);
	descriptor_list_free(&one);
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
	cr_assert_eq(takeover_claim_ms(100000, 30 * NS_PER_S), 600);
	cr_assert_eq(takeover_claim_ms(1 << 20, 0), 1548);
	cr_assert_eq(takeover_claim_ms(1 << 20, 2 * NS_PER_S), 1000);
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
