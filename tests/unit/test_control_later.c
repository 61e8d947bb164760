// SPDX-License-Identifier: Apache-2.0
/* Commands whose answer comes later, and the thread that reads a gateway's configuration. */
#include <criterion/criterion.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "core/daemon/identity.h"
#include "core/gateway/reloader.h"
#include "tests/unit/config_files.h"

static struct clock manual;
static uint64_t now = NS_PER_S;
static char directory[] = "/tmp/test_later.XXXXXX", path[64];
static struct control *control;
static struct control_listener listener;
static struct control_ticket tickets[4];
static size_t ticket_count;

static uint64_t manual_monotonic(const struct clock *clock)
{
	(void)clock;
	return now;
}

static json_t *run_later(void *context, char *const *arguments, size_t count, struct error *error)
{
	(void)context, (void)arguments, (void)count, (void)error;
	tickets[ticket_count++] = control_defer(control);
	return NULL;
}

static void start(void)
{
	static const struct control_command command = {"later", "takes its time", run_later};
	struct control_params params = {
		.listener = &listener, .commands = &command, .command_count = 1, .clock = &manual};
	struct error error = {0};
	manual.monotonic = manual_monotonic;
	cr_assert_not_null(mkdtemp(directory));
	snprintf(path, sizeof path, "%s/sock", directory);
	cr_assert_eq(control_listener_open(&listener, path, &error), 0, "%s", error.text);
	control = control_new(&params, &error);
	cr_assert_not_null(control, "%s", error.text);
}

static void stop(void)
{
	control_free(control);
	control_listener_close(&listener);
	cr_assert_eq(rmdir(directory), 0);
}

static int ask(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	strcpy(address.sun_path, path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
	cr_assert_eq(send(fd, "later\n", 6, 0), 6);
	for (int i = 0; i < 4; i++)
		control_poll(control);
	return fd;
}

static void says(int fd, const char *expected)
{
	char text[256] = "";
	control_poll(control);
	ssize_t got = recv(fd, text, sizeof text - 1, 0);
	cr_expect_eq(got, (ssize_t)strlen(expected));
	cr_expect_str_eq(text, expected);
	cr_expect_eq(recv(fd, text, sizeof text, 0), 0, "and ends");
	close(fd);
}

Test(control_later, answers_go_to_those_who_asked, .init = start, .fini = stop)
{
	struct error error = {.text = "no"};
	char byte;
	int one = ask(), other = ask();
	cr_assert_eq(ticket_count, 2);
	/* Neither the time limit nor a client that said all it has to say ends the wait, nor is either polled in vain.
	 */
	cr_assert_eq(shutdown(one, SHUT_WR), 0);
	now += 100 * CONTROL_TIME_LIMIT;
	struct pollfd polled = {.fd = control_fd(control), .events = POLLIN};
	for (int i = 0; i < 4; i++)
		control_poll(control);
	cr_expect_eq(poll(&polled, 1, 0), 0);
	cr_expect_eq(recv(one, &byte, 1, 0), -1);
	control_answer(control, tickets[1], NULL, &error);
	says(other, "{\"ok\":false,\"error\":\"no\"}\n");
	cr_expect_eq(recv(one, &byte, 1, 0), -1);
	control_answer(control, tickets[0], json_integer(7), NULL);
	says(one, "{\"ok\":true,\"result\":7}\n");
}

Test(control_later, nobody_gets_the_answer_of_one_who_left, .init = start, .fini = stop)
{
	close(ask());
	for (int i = 0; i < 4; i++)
		control_poll(control);
	int next = ask();
	cr_assert_eq(ticket_count, 2);
	cr_assert_eq(tickets[0].index, tickets[1].index, "the same place");
	control_answer(control, tickets[0], json_integer(1), NULL);
	control_answer(control, tickets[1], json_integer(2), NULL);
	says(next, "{\"ok\":true,\"result\":2}\n");
	control_answer(control, tickets[1], json_integer(3), NULL);
}

/* --- the thread that reads -----------------------------------------------------------------------------------------*/

static struct registry registry;
static struct gateway_config *config;
static struct gateway_running running;
static char conf[64];

static void write_config(const char *peers)
{
	FILE *out = fopen(conf, "w");
	cr_assert_not_null(out);
	fprintf(out, "[Gateway]\nAddress = 10.8.0.1/16\nPrivateKey = " KEY_A "\n%s", peers);
	fclose(out);
	cr_assert_eq(chmod(conf, 0600), 0);
}

static struct reloader *reloader_start(void)
{
	struct error error = {0};
	cr_assert_eq(keys_init(&error), 0);
	cr_assert_not_null(mkdtemp(directory));
	snprintf(conf, sizeof conf, "%s/f", directory);
	write_config("");
	rcu_join();
	cr_assert_eq(config_load_gateway(conf, &config, &error), 0, "%s", error.text);
	struct registry_params params = {.addresses = config->addresses.items,
					 .address_count = config->addresses.count,
					 .max_sessions = 16,
					 .workers = 1};
	cr_assert_eq(registry_init(&registry, &params, &error), 0);
	running = (struct gateway_running){
		.config = config, .identity = identity_load(&config->common, &error), .registry = &registry};
	struct reloader *reloader = reloader_new("reload", &running, NULL, &error);
	cr_assert_not_null(reloader, "%s", error.text);
	return reloader;
}

static void reloader_stop(struct reloader *reloader)
{
	reloader_free(reloader);
	registry_deinit(&registry);
	rcu_leave();
	secret_free((void *)running.identity);
	config_free_gateway(running.reread);
	config_free_gateway(config);
	unlink(conf);
	rmdir(directory);
}

/* The code, and how many waited. */
static int apply(struct reloader *reloader, size_t *waited)
{
	struct gateway_reload_result result;
	struct reloader_waiting waiting;
	struct error error;
	int code = 1;
	struct pollfd polled = {.fd = reloader_fd(reloader), .events = POLLIN};
	rcu_offline();
	cr_assert_eq(poll(&polled, 1, 240000), 1);
	rcu_online();
	cr_assert(reloader_apply(reloader, &code, &result, &waiting, &error));
	*waited = waiting.count;
	return code;
}

Test(reloader, reads_once_more_when_asked_while_it_reads)
{
	struct reloader *reloader = reloader_start();
	struct control_ticket ticket = {0};
	size_t waited;
	cr_expect_not(reloader_busy(reloader));
	cr_expect_not(reloader_busy(NULL));
	write_config(PEER(KEY_B));
	reloader_ask(reloader, &ticket);
	cr_expect(reloader_busy(reloader));
	reloader_ask(reloader, &ticket);
	reloader_ask(reloader, NULL);
	reloader_ask(reloader, &ticket);
	cr_assert_eq(apply(reloader, &waited), 0);
	cr_expect_eq(waited, 1);
	cr_expect_eq(peers_count(&registry.peers), 1);
	cr_expect(reloader_busy(reloader), "for those who asked later");
	cr_assert_eq(apply(reloader, &waited), 0);
	cr_expect_eq(waited, 2);
	cr_expect_not(reloader_busy(reloader));

	write_config("Nonsense = 1\n");
	reloader_ask(reloader, &ticket);
	cr_assert_eq(apply(reloader, &waited), -EINVAL);
	cr_expect_eq(waited, 1);
	cr_expect_eq(peers_count(&registry.peers), 1);
	reloader_stop(reloader);
}

Test(reloader, ends_while_it_reads)
{
	struct reloader *reloader = reloader_start();
	reloader_ask(reloader, NULL);
	reloader_stop(reloader);
}

/* --- what else the thread reads ----------------------------------------------------------------------------------- */

static unsigned job_read, job_applied, job_freed;

static void read_job(void *context)
{
	(void)context;
	job_read++;
}

static bool apply_job(void *context)
{
	return ++job_applied == *(const unsigned *)context;
}

static void free_job(void *context)
{
	(void)context;
	job_freed++;
}

Test(reloader, a_job_excludes_a_reading_and_is_applied_in_turns)
{
	struct reloader *reloader = reloader_start();
	unsigned turns = 3;
	const struct reloader_job job = {read_job, apply_job, free_job, &turns};
	size_t waited;
	write_config(PEER(KEY_B));
	cr_assert(reloader_takes_job(reloader));
	cr_assert_not(reloader_takes_job(NULL));
	reloader_begin(reloader, &job);
	cr_expect(reloader_busy(reloader));
	cr_expect_not(reloader_reads(reloader), "a job is no reading of the configuration");
	reloader_ask(reloader, NULL);
	for (unsigned turn = 1; turn <= turns; turn++) {
		struct gateway_reload_result result;
		struct reloader_waiting waiting;
		struct error error;
		int code;
		struct pollfd polled = {.fd = reloader_fd(reloader), .events = POLLIN};
		rcu_offline();
		cr_assert_eq(poll(&polled, 1, 240000), 1);
		rcu_online();
		cr_assert_not(reloader_apply(reloader, &code, &result, &waiting, &error));
		cr_assert_eq(job_applied, turn);
		cr_expect_eq(peers_count(&registry.peers), 0, "the reading waits");
	}
	cr_expect_eq(job_read, 1);
	cr_expect(reloader_reads(reloader), "the reading that waited");
	cr_assert_eq(apply(reloader, &waited), 0);
	cr_expect_eq(job_freed, 1, "before the thread read again");
	cr_expect_eq(peers_count(&registry.peers), 1);
	cr_expect_not(reloader_busy(reloader));
	reloader_stop(reloader);
}

Test(reloader, ends_with_a_job_that_is_not_applied)
{
	struct reloader *reloader = reloader_start();
	unsigned turns = 1;
	const struct reloader_job job = {read_job, apply_job, free_job, &turns};
	reloader_begin(reloader, &job);
	reloader_begin(reloader, &job);
	cr_assert_not(reloader_takes_job(reloader), "one waits");
	reloader_stop(reloader);
	cr_assert_eq(job_freed, 2);
	cr_assert_eq(job_applied, 0);
}

Test(reloader, a_job_waits_for_a_reading_and_goes_before_the_next_one)
{
	struct reloader *reloader = reloader_start();
	struct control_ticket ticket = {0};
	unsigned turns = 1;
	const struct reloader_job job = {read_job, apply_job, free_job, &turns};
	struct gateway_reload_result result;
	struct reloader_waiting waiting;
	struct error error;
	size_t waited;
	int code;
	write_config(PEER(KEY_B));
	reloader_ask(reloader, &ticket);
	reloader_begin(reloader, &job);
	cr_assert_not(reloader_takes_job(reloader));
	reloader_ask(reloader, &ticket);
	cr_assert_eq(apply(reloader, &waited), 0);
	cr_expect_eq(waited, 1);
	struct pollfd polled = {.fd = reloader_fd(reloader), .events = POLLIN};
	rcu_offline();
	cr_assert_eq(poll(&polled, 1, 240000), 1);
	rcu_online();
	cr_assert_not(reloader_apply(reloader, &code, &result, &waiting, &error));
	cr_assert_eq(job_applied, 1);
	cr_assert(reloader_takes_job(reloader) && reloader_busy(reloader));
	cr_assert_eq(apply(reloader, &waited), 0);
	cr_expect_eq(waited, 1, "whose request came meanwhile");
	cr_expect_eq(peers_count(&registry.peers), 1);
	cr_expect_not(reloader_busy(reloader));
	reloader_stop(reloader);
}
