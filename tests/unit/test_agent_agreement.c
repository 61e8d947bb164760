// SPDX-License-Identifier: Apache-2.0
/* The option Agreement of the agent, and its default; and the socket that it is for. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/agent/agent_state.h"

TestSuite(agent_agreement, .timeout = 60);

static struct agent_settings settings;
static struct error error;

/* [Agent] with these lines. */
static int read_lines(const char *lines)
{
	char path[] = "/tmp/agreement.XXXXXX";
	int fd = mkstemp(path);
	FILE *file = fdopen(fd, "w");
	fprintf(file, "[Agent]\nNode = a\n%s\n[Etcd]\nEndpoints = https://e:2379\n", lines);
	(void)fclose(file);
	error = (struct error){0};
	int result = agent_settings_read(&settings, path, &error);
	unlink(path);
	return result;
}

Test(agent_agreement, the_default_is_the_first_inside_address)
{
	cr_assert_eq(read_lines("Inside = 10.9.0.1:5556"), 0, "%s", error.text);
	cr_assert_str_eq(settings.agreement, "10.9.0.1:5557");
	cr_assert_eq(read_lines("Inside = [fd00::1]:5000, 10.9.0.1:5556"), 0, "%s", error.text);
	cr_assert_str_eq(settings.agreement, "[fd00::1]:5557");
}

Test(agent_agreement, another_one_is_taken)
{
	cr_assert_eq(read_lines("Inside = 10.9.0.1:5556\nAgreement = [fd00::9]:77"), 0, "%s", error.text);
	cr_assert_str_eq(settings.agreement, "[fd00::9]:77");
}

Test(agent_agreement, what_is_no_address_is_refused)
{
	static const char *const wrong[] = {"10.9.0.1",	      "host:5557",
					    "10.9.0.1:0",     "10.9.0.1:70000",
					    "224.0.0.1:5557", "10.9.0.1:5557, [fd00::1]:5557",
					    "unix:/run/x",    ""};
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		char lines[128];
		(void)snprintf(lines, sizeof lines, "Inside = 10.9.0.1:5556\nAgreement = %s", wrong[i]);
		cr_assert_neq(read_lines(lines), 0, "%s", wrong[i]);
		cr_assert_not_null(strstr(error.text, "Agreement"), "%s", error.text);
	}
}

/* Where the socket is, or -errno as text. */
static const char *bound(const char *agreement)
{
	static struct agent_settings chosen = {.node = "a"};
	static char text[ENDPOINT_TEXT_MAX];
	struct agent agent = {.settings = &chosen, .clock = &clock_system};
	struct sockaddr_in6 address = {0};
	socklen_t length = sizeof address;
	(void)snprintf(chosen.agreement, sizeof chosen.agreement, "%s", agreement);
	int result = agent_promises_open(&agent, &error);
	(void)snprintf(text, sizeof text, "%d", result);
	if (result == 0) {
		cr_assert_eq(getsockname(agent_promises_fd(&agent), (struct sockaddr *)&address, &length), 0);
		if (address.sin6_family == AF_INET) {
			const struct sockaddr_in v4 = *(struct sockaddr_in *)&address;
			address = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = v4.sin_port};
			memcpy(&address.sin6_addr, "\0\0\0\0\0\0\0\0\0\0\xff\xff", 12);
			memcpy(&address.sin6_addr.s6_addr[12], &v4.sin_addr, 4);
		}
		sockaddr_format(&address, text);
	}
	agent_promises_close(&agent);
	return text;
}

Test(agent_agreement, the_socket_is_there_also_before_the_address_is)
{
	cr_assert_str_eq(bound("192.0.2.77:5557"), "192.0.2.77:5557", "%s", error.text);
	cr_assert_str_eq(bound("[2001:db8::77]:5557"), "[2001:db8::77]:5557", "%s", error.text);
	cr_assert_str_eq(bound("192.0.2.77"), "-22");
	cr_assert_str_eq(bound("[2001:db8::77]"), "-22");
	cr_assert_str_eq(bound("192.0.2.77:x"), "-22");
}
