// SPDX-License-Identifier: Apache-2.0
/* What the service manager hears, and when a sign of life is due. */
#include "core/host/notify.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/base/clock.h"

TestSuite(notify, .timeout = 60);

/* A manager with an abstract name; leaves the environment that it would set. */
static int manager(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char name[64];
	int length = snprintf(name, sizeof name, "@shardtun-test-%d", (int)getpid());
	memcpy(address.sun_path, name, (size_t)length);
	address.sun_path[0] = '\0';
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)length);
	cr_assert_eq(bind(fd, (const struct sockaddr *)&address, size), 0);
	setenv("NOTIFY_SOCKET", name, 1);
	return fd;
}

static const char *heard(int fd)
{
	static char message[512];
	ssize_t length = recv(fd, message, sizeof message - 1, 0);
	message[length > 0 ? length : 0] = '\0';
	return message;
}

Test(notify, it_is_told_what_happens)
{
	int fd = manager();
	struct notify notify;
	unsigned long long usec = 0;
	notify_open(&notify);
	notify_ready(&notify);
	cr_assert_str_eq(heard(fd), "READY=1");
	notify_reloading(&notify);
	cr_assert_eq(sscanf(heard(fd), "RELOADING=1\nMONOTONIC_USEC=%llu", &usec), 1);
	cr_assert_gt(usec, 0);
	notify_stopping(&notify);
	cr_assert_str_eq(heard(fd), "STOPPING=1");
	notify_watchdog(&notify, 1);
	cr_assert_str_eq(heard(fd), "WATCHDOG=1");
	notify_close(&notify);
	close(fd);
}

Test(notify, a_status_is_told_once)
{
	int fd = manager();
	struct notify notify;
	notify_open(&notify);
	notify_status(&notify, "%u clients", 3u);
	notify_status(&notify, "%u clients", 3u);
	notify_status(&notify, "%u clients", 4u);
	cr_assert_str_eq(heard(fd), "STATUS=3 clients");
	cr_assert_str_eq(heard(fd), "STATUS=4 clients");
	cr_assert_str_eq(heard(fd), "");
	notify_close(&notify);
	close(fd);
}

Test(notify, whom_we_start_does_not_inherit_the_manager)
{
	int fd = manager();
	setenv("WATCHDOG_USEC", "1000000", 1);
	struct notify notify;
	notify_open(&notify);
	cr_assert_null(getenv("NOTIFY_SOCKET"));
	cr_assert_null(getenv("WATCHDOG_USEC"));
	notify_close(&notify);
	close(fd);
}

Test(notify, without_a_manager_nothing_happens)
{
	struct notify notify;
	unsetenv("NOTIFY_SOCKET");
	notify_open(&notify);
	notify_ready(&notify);
	notify_status(&notify, "here");
	cr_assert_not(notify_watchdog_due(&notify, 1000 * NS_PER_S));
	notify_close(&notify);
	setenv("NOTIFY_SOCKET", "/nonexistent/notify", 1);
	notify_open(&notify);
	notify_ready(&notify);
	notify_close(&notify);
	setenv("NOTIFY_SOCKET", "vsock:2:1", 1);
	notify_open(&notify);
	cr_assert_lt(notify.fd, 0);
	notify_close(&notify);
}

Test(notify, signs_of_life_are_due_several_times_before_it_is_too_late)
{
	int fd = manager();
	struct notify notify;
	setenv("WATCHDOG_USEC", "8000000", 1);
	notify_open(&notify);
	cr_assert(notify_watchdog_due(&notify, 100 * NS_PER_S));
	notify_watchdog(&notify, 100 * NS_PER_S);
	cr_assert_not(notify_watchdog_due(&notify, 101 * NS_PER_S));
	cr_assert(notify_watchdog_due(&notify, 102 * NS_PER_S));
	notify_close(&notify);
	close(fd);
}

Test(notify, the_watchdog_of_another_process_is_not_ours)
{
	int fd = manager();
	struct notify notify;
	setenv("WATCHDOG_USEC", "8000000", 1);
	setenv("WATCHDOG_PID", "1", 1);
	notify_open(&notify);
	cr_assert_not(notify_watchdog_due(&notify, 100 * NS_PER_S));
	notify_close(&notify);
	close(fd);
}

Test(notify, one_that_takes_the_main_process_place_has_its_watchdog)
{
	int fd = manager();
	struct notify notify;
	notify_open(&notify);
	notify_adopt_watchdog(&notify, 8 * NS_PER_S);
	cr_assert(notify_watchdog_due(&notify, 100 * NS_PER_S));
	notify_watchdog(&notify, 100 * NS_PER_S);
	cr_assert_not(notify_watchdog_due(&notify, 101 * NS_PER_S));
	notify_adopt_watchdog(&notify, NS_PER_S);
	cr_assert_not(notify_watchdog_due(&notify, 101 * NS_PER_S), "its own, if it has one");
	notify_close(&notify);
	close(fd);
	unsetenv("NOTIFY_SOCKET");
	notify_open(&notify);
	notify_adopt_watchdog(&notify, 8 * NS_PER_S);
	cr_assert_not(notify_watchdog_due(&notify, 100 * NS_PER_S), "without a manager there is none");
}
