// SPDX-License-Identifier: Apache-2.0
/* The option Agreement of the agent, and its default. */
#include "core/agent/settings.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <unistd.h>

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
