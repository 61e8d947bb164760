// SPDX-License-Identifier: Apache-2.0
/* What a service manager hands over, and what it is told to keep. */
#include "core/daemon/store.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

TestSuite(store, .timeout = 60);

static struct error error;

static void set_environment(const char *count, const char *names)
{
	char pid[16];
	(void)snprintf(pid, sizeof pid, "%d", (int)getpid());
	setenv("LISTEN_PID", pid, 1);
	setenv("LISTEN_FDS", count, 1);
	setenv("LISTEN_FDNAMES", names, 1);
}

/* In a child: the descriptors from 3 on are the test's here, and may be replaced there. Its status is the number of the
 * step that failed. */
static int in_child(int (*steps)(void))
{
	pid_t child = fork();
	if (child == 0) {
		int ends[2];
		closefrom(3);
		_exit(pipe(ends) == 0 && ends[0] == 3 && ends[1] == 4 ? steps() : 99);
	}
	int status = 0;
	cr_assert_eq(waitpid(child, &status, 0), child);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

#define STEP(number, condition)          \
	do {                             \
		if (!(condition))        \
			return (number); \
	} while (0)

static int take_two(void)
{
	struct notify notify = {.fd = -1};
	struct store store;
	struct descriptor_list given;
	set_environment("2", "first:second");
	STEP(1, store_take(&store, &notify, &given, &error) == 0);
	STEP(2, given.count == 2);
	STEP(3, descriptor_list_find(&given, "first") == 3 && descriptor_list_find(&given, "second") == 4);
	STEP(4, fcntl(3, F_GETFD) == FD_CLOEXEC && (fcntl(3, F_GETFL) & O_NONBLOCK) != 0);
	STEP(5, getenv("LISTEN_FDS") == NULL && getenv("LISTEN_PID") == NULL && getenv("LISTEN_FDNAMES") == NULL);
	STEP(6, descriptor_list_take(&given, "first") == 3 && descriptor_list_find(&given, "first") == -1);
	descriptor_list_close(&given);
	STEP(7, fcntl(3, F_GETFD) == FD_CLOEXEC && fcntl(4, F_GETFD) < 0);
	STEP(8, store_take(&store, &notify, &given, &error) == 0 && given.count == 0);
	return 0;
}

static int take_of_a_parent(void)
{
	struct notify notify = {.fd = -1};
	struct store store;
	struct descriptor_list given;
	set_environment("2", "first:second");
	setenv("LISTEN_PID", "1", 1);
	STEP(1, store_take(&store, &notify, &given, &error) == 0 && given.count == 0);
	STEP(2, getenv("LISTEN_FDS") == NULL);
	return 0;
}

static int refuse(const char *count, const char *names)
{
	struct notify notify = {.fd = -1};
	struct store store;
	struct descriptor_list given;
	set_environment(count, names);
	int result = store_take(&store, &notify, &given, &error);
	descriptor_list_close(&given);
	return result;
}

static int take_what_cannot_be(void)
{
	char longer[200];
	STEP(1, refuse("2", "first") == -EPROTO);
	int ends[2];
	STEP(2, pipe(ends) == 0 && ends[0] == 3);
	STEP(3, refuse("2", "a:b:c") == -EPROTO);
	STEP(4, pipe(ends) == 0 && refuse("2", "a:") == -EPROTO);
	STEP(5, pipe(ends) == 0 && refuse("2", "") == -EPROTO);
	STEP(6, pipe(ends) == 0 && refuse("3", "a:b:c") == -EPROTO); /* the third is not open */
	memset(longer, 'a', sizeof longer - 1);
	longer[sizeof longer - 1] = '\0';
	STEP(7, pipe(ends) == 0 && refuse("1", longer) == -EPROTO);
	STEP(8, refuse("-1", "a") == 0);
	STEP(9, refuse("nonsense", "a") == 0);
	STEP(10, refuse("999999999", "a:b") == -EPROTO);
	return 0;
}

Test(store, what_the_manager_hands_over_is_taken_by_name)
{
	cr_assert_eq(in_child(take_two), 0);
}

Test(store, what_is_meant_for_another_process_is_not_taken)
{
	cr_assert_eq(in_child(take_of_a_parent), 0);
}

Test(store, names_that_do_not_match_are_an_error)
{
	cr_assert_eq(in_child(take_what_cannot_be), 0);
}

/* --- a manager ---------------------------------------------------------------------------------------------------- */

static int manager(struct notify *notify)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char name[64];
	int length = snprintf(name, sizeof name, "@shardtun-store-%d", (int)getpid());
	memcpy(address.sun_path, name, (size_t)length);
	address.sun_path[0] = '\0';
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)length);
	cr_assert_eq(bind(fd, (const struct sockaddr *)&address, size), 0);
	setenv("NOTIFY_SOCKET", name, 1);
	notify_open(notify);
	cr_assert_geq(notify->fd, 0);
	return fd;
}

/* The message, and whether a descriptor came with it, which is closed. */
static bool heard(int fd, const char *text)
{
	char message[256] = "", control[CMSG_SPACE(sizeof(int))];
	struct iovec iov = {.iov_base = message, .iov_len = sizeof message - 1};
	struct msghdr header = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
	cr_assert_geq(recvmsg(fd, &header, 0), 0, "expected: %s", text);
	cr_assert_str_eq(message, text);
	struct cmsghdr *rights = CMSG_FIRSTHDR(&header);
	if (rights == NULL)
		return false;
	int got;
	memcpy(&got, CMSG_DATA(rights), sizeof got);
	close(got);
	return true;
}

static struct descriptor_list pair(void)
{
	struct descriptor_list list = {.count = 0};
	cr_assert_eq(descriptor_list_add(&list, "one", open("/dev/null", O_RDONLY)), 0);
	cr_assert_eq(descriptor_list_add(&list, "two", open("/dev/null", O_RDONLY)), 0);
	return list;
}

Test(store, each_is_kept_under_its_name_and_given_up_at_the_end)
{
	struct notify notify;
	int fd = manager(&notify);
	struct store store = {.notify = &notify, .most = 2};
	struct descriptor_list list = pair();
	int fds[] = {list.entries[0].fd, list.entries[1].fd};
	cr_assert_eq(store_keep(&store, &list, false, &error), 0, "%s", error.text);
	cr_assert(heard(fd, "FDSTORE=1\nFDNAME=one\nFDPOLL=0"));
	cr_assert(heard(fd, "FDSTORE=1\nFDNAME=two\nFDPOLL=0"));
	store_empty(&store);
	cr_assert(!heard(fd, "FDSTOREREMOVE=1\nFDNAME=one"));
	cr_assert(!heard(fd, "FDSTOREREMOVE=1\nFDNAME=two"));
	store_empty(&store);
	cr_assert_lt(recv(fd, fds, 1, 0), 0, "again is nothing");
	notify_close(&notify);
	close(fd);
}

Test(store, what_was_adopted_or_is_left_is_not_mentioned)
{
	struct notify notify;
	char byte;
	int fd = manager(&notify);
	struct store store = {.notify = &notify, .most = 2};
	struct descriptor_list list = pair();
	cr_assert_eq(store_keep(&store, &list, true, &error), 0);
	store_leave(&store);
	store_empty(&store);
	cr_assert_lt(recv(fd, &byte, 1, 0), 0);
	notify_close(&notify);
	close(fd);
}

Test(store, more_than_the_manager_takes_are_not_kept)
{
	struct notify notify;
	char byte;
	int fd = manager(&notify);
	struct store store = {.notify = &notify, .most = 1};
	struct descriptor_list list = pair();
	cr_assert_eq(store_keep(&store, &list, false, &error), -E2BIG);
	cr_assert_not_null(strstr(error.text, "2 descriptors"), "%s", error.text);
	cr_assert_eq(store.kept.count, 0);
	cr_assert_lt(recv(fd, &byte, 1, 0), 0);
	notify_close(&notify);
	close(fd);
}

/* The barrier's descriptor is closed when it is its turn. */
Test(store, who_refuses_waits_until_the_manager_closed_them)
{
	struct notify notify;
	int fd = manager(&notify);
	struct store store = {.notify = &notify, .most = 2};
	struct descriptor_list list = pair();
	pid_t child = fork();
	if (child == 0) {
		(void)fcntl(fd, F_SETFL, 0);
		alarm(30);
		usleep(100 * 1000);
		_exit(!heard(fd, "FDSTOREREMOVE=1\nFDNAME=one") && !heard(fd, "FDSTOREREMOVE=1\nFDNAME=two") &&
				      heard(fd, "BARRIER=1")
			      ? 0
			      : 1);
	}
	store_refuse(&store, &list);
	int status = -1;
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert_eq(status, 0);
	cr_assert_eq(list.count, 0);
	notify_close(&notify);
	close(fd);
}

Test(store, without_a_manager_nothing_is_kept)
{
	struct notify notify = {.fd = -1};
	struct store store = {.notify = &notify, .most = 2};
	struct descriptor_list list = pair();
	cr_assert_eq(store_keep(&store, &list, false, &error), -ENOTCONN);
	cr_assert_eq(store.kept.count, 0);
}
