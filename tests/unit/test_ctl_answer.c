// SPDX-License-Identifier: Apache-2.0
/* The asking side of the control socket, and daemons in an intruder's hand: what they say is bounded, escaped, and
 * heard only from the user that the configuration names. */
#include "core/cli/ctl_answer.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base/clock.h"
#include "core/cli/ctl.h"

TestSuite(ctl_answer, .timeout = 60);

/* --- the text ----------------------------------------------------------------------------------------------------- */

static int parse(const char *text, json_t **result, struct error *error)
{
	return ctl_answer_parse(text, strlen(text), "x.sock", result, error);
}

Test(ctl_answer, texts_are_escaped_wherever_they_stand)
{
	struct error error = {0};
	json_t *result;
	cr_assert_eq(parse("{\"result\":{\"a\":\"\\u001b[2J\",\"b\":[\"\\u009b1m\",{\"c\":\"\\u202e\"}],\"d\":"
			   "\"B\\u00fcro\"}}",
			   &result, &error),
		     0, "%s", error.text);
	char *seen = json_dumps(result, JSON_COMPACT | JSON_SORT_KEYS);
	cr_assert_str_eq(seen, "{\"a\":\"\\\\x1b[2J\",\"b\":[\"\\\\xc2\\\\x9b1m\",{\"c\":\"\\\\xe2\\\\x80\\\\xae\"}],"
			       "\"d\":\"B\xc3\xbcro\"}");
	free(seen);
	json_decref(result);
}

Test(ctl_answer, what_is_none_of_ours_is_refused)
{
	static const char *const answers[] = {
		"",
		"{\"result\":{\"\\u001b[2J\":1}}", /* a name */
		"{\"result\":[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]}",
		"{\"result\":\"\xff\"}",
		"{\"result\":1e999}",
		"{\"result\":\"\\u0000\"}",
		"{\"result\":1} {}",
		"{\"error\":\"\"}",
	};
	for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
		struct error error = {0};
		json_t *result;
		cr_expect_eq(parse(answers[i], &result, &error), -EPROTO, "%s", answers[i]);
		cr_expect_neq(strstr(error.text, "something else than shardtun"), NULL, "%s", error.text);
	}
}

/* A prefix, the same again and again, and an end. */
static char *repeat(const char *start, const char *middle, size_t times, const char *end)
{
	size_t length = strlen(middle);
	char *text = malloc(strlen(start) + times * length + strlen(end) + 1);
	cr_assert_not_null(text);
	char *at = stpcpy(text, start);
	for (size_t i = 0; i < times; i++)
		at = stpcpy(at, middle);
	strcpy(at, end);
	return text;
}

Test(ctl_answer, the_number_of_values_is_bounded)
{
	for (int over = 0; over < 2; over++) {
		struct error error = {0};
		json_t *result = NULL;
		char *text = repeat("{\"result\":[0", ",0", CTL_ANSWER_VALUES - (over ? 0 : 100), "]}");
		cr_expect_eq(parse(text, &result, &error), over ? -EPROTO : 0, "%s", error.text);
		json_decref(result);
		free(text);
	}
	struct error error = {0};
	json_t *result = NULL;
	char *text = repeat("{\"result\":\"", ",[{\\\"", CTL_ANSWER_VALUES, "\"}");
	cr_expect_eq(parse(text, &result, &error), 0, "in a text they are none: %s", error.text);
	json_decref(result);
	free(text);
}

/* --- the server -------------------------------------------------------------------------------------------------- */

static char directory[] = "/tmp/shardtun-answer-XXXXXX";
static char path[96];
static pid_t server;

static void prepare(void)
{
	cr_assert_not_null(mkdtemp(directory));
	(void)chmod(directory, 0755);
	(void)snprintf(path, sizeof path, "%s/fake.sock", directory);
}

/* A daemon as `uid` that says `text` again and again, and `pause` microseconds in between, until the connection is
 * closed. */
static void serve(uid_t uid, const char *text, size_t times, useconds_t pause)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	memcpy(address.sun_path, path, strlen(path));
	int listener = socket(AF_UNIX, SOCK_STREAM, 0);
	cr_assert_eq(bind(listener, (struct sockaddr *)&address, sizeof address), 0);
	server = fork();
	if (server == 0) {
		if (setuid(uid) != 0 || listen(listener, 8) != 0)
			_exit(1);
		for (;;) {
			char request[4096];
			int fd = accept(listener, NULL, NULL);
			bool asked = recv(fd, request, sizeof request, 0) > 0; /* else we are not believed */
			for (size_t i = 0; asked && i < times && send(fd, text, strlen(text), MSG_NOSIGNAL) >= 0; i++)
				usleep(pause);
			close(fd);
		}
	}
	close(listener);
}

static void clean(void)
{
	if (server > 0) {
		(void)kill(server, SIGKILL);
		(void)waitpid(server, NULL, 0);
	}
	(void)unlink(path);
	char config[96];
	(void)snprintf(config, sizeof config, "%s/gateway.conf", directory);
	(void)unlink(config);
	(void)rmdir(directory);
}

/* Until it listens. */
static int ask(const char *config, unsigned seconds, struct error *error)
{
	struct ctl_target target;
	json_t *result = NULL;
	int code;
	cr_assert_eq(ctl_target_set(&target, path, config, error), 0);
	for (int i = 0; i < 24000; i++) {
		code = ctl_request_for(&target, "status", seconds, &result, error);
		if (code != -ECONNREFUSED)
			break;
		usleep(10000);
	}
	json_decref(result);
	return code;
}

#define YES "{\"ok\":true,\"result\":1}\n"

Test(ctl_answer, who_drips_bytes_has_no_more_time_than_who_is_silent, .init = prepare, .fini = clean)
{
	struct error error = {0};
	serve(geteuid(), " ", 1000000, 20000);
	uint64_t start = clock_monotonic(&clock_system);
	cr_assert_eq(ask(NULL, 1, &error), -ETIMEDOUT);
	cr_assert_neq(strstr(error.text, "does not come to an end"), NULL, "%s", error.text);
	cr_assert_lt(clock_monotonic(&clock_system) - start, 240 * NS_PER_S);
}

Test(ctl_answer, who_says_nothing_is_left, .init = prepare, .fini = clean)
{
	struct error error = {0};
	serve(geteuid(), "", 1, 300000000);
	cr_assert_eq(ask(NULL, 1, &error), -ETIMEDOUT);
	cr_assert_neq(strstr(error.text, "does not answer"), NULL, "%s", error.text);
}

Test(ctl_answer, an_answer_without_end_is_left, .init = prepare, .fini = clean)
{
	struct error error = {0};
	char *much = repeat("", "        ", 8192, "");
	serve(geteuid(), much, SIZE_MAX, 0);
	cr_assert_eq(ask(NULL, 50, &error), -EMSGSIZE, "%s", error.text);
	free(much);
}

enum { SOMEBODY = 64042 };

static const char *configure(const char *user, mode_t mode)
{
	static char config[96];
	(void)snprintf(config, sizeof config, "%s/gateway.conf", directory);
	FILE *file = fopen(config, "we");
	cr_assert_not_null(file);
	fprintf(file, "[Gateway]\nUser = %s\n[Peer]\nUser = root\n", user);
	cr_assert_eq(fchmod(fileno(file), mode), 0);
	fclose(file);
	return config;
}

Test(ctl_answer, nobody_but_root_who_asks_and_the_configured_user_is_believed, .init = prepare, .fini = clean)
{
	struct error error = {0};
	if (geteuid() != 0) {
		cr_skip_test("needs root");
		return;
	}
	serve(SOMEBODY, YES, 1, 0);
	cr_expect_eq(ask(NULL, 10, &error), -EPERM);
	cr_expect_neq(strstr(error.text, "user ID 64042 answers there, who is neither root nor you: not asked"), NULL,
		      "%s", error.text);
	cr_expect_eq(ask("/nonexistent/gateway.conf", 10, &error), -EPERM, "%s", error.text);
	cr_expect_eq(ask(configure("daemon", 0644), 10, &error), -EPERM, "%s", error.text);
	cr_expect_neq(strstr(error.text, "nor the User of"), NULL, "%s", error.text);
}

Test(ctl_answer, the_configured_user_is_believed_if_the_configuration_is, .init = prepare, .fini = clean)
{
	struct error error = {0};
	if (geteuid() != 0) {
		cr_skip_test("needs root");
		return;
	}
	serve(1, YES, 1, 0); /* "daemon", on each Debian */
	cr_expect_eq(ask(configure("daemon", 0644), 10, &error), 0, "%s", error.text);
	cr_expect_eq(ask(configure("daemon", 0664), 10, &error), -EPERM, "others may write to it");
	cr_expect_neq(strstr(error.text, "others than root may write to it"), NULL, "%s", error.text);
	const char *config = configure("daemon", 0644);
	cr_assert_eq(chown(config, SOMEBODY, 0), 0);
	cr_expect_eq(ask(config, 10, &error), -EPERM, "it is somebody else's");
	cr_expect_neq(strstr(error.text, "belongs to user ID 64042"), NULL, "%s", error.text);
}

Test(ctl_answer, a_link_of_somebody_elses_is_not_followed, .init = prepare, .fini = clean)
{
	struct error error = {0};
	char link[128];
	if (geteuid() != 0) {
		cr_skip_test("needs root");
		return;
	}
	serve(0, YES, 1, 0);
	(void)snprintf(link, sizeof link, "%s/link.sock", directory);
	cr_assert_eq(symlink(path, link), 0);
	strcpy(path, link);
	cr_expect_eq(ask(NULL, 10, &error), 0, "root's own: %s", error.text);
	cr_assert_eq(lchown(link, SOMEBODY, 0), 0);
	cr_expect_eq(ask(NULL, 10, &error), -EPERM);
	cr_expect_neq(strstr(error.text, "a symbolic link of user ID 64042's"), NULL, "%s", error.text);
	(void)unlink(link);
	(void)snprintf(path, sizeof path, "%s/fake.sock", directory);
}
