// SPDX-License-Identifier: Apache-2.0
/* The map of owners that the gateway is sent: in one request or in several, again after a failure, and never to
 * oneself.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/agent/agent_state.h"
#include "core/control/listener.h"

TestSuite(agent_map, .timeout = 120);

enum { ROUNDS = 300, MAP_MAX = 32768 };

static char directory[] = "/tmp/shardtun-map-XXXXXX", path[64];
static struct control_listener listener;
static struct control *control;
static struct agent agent;
static struct agent_settings settings;
static char got[MAP_MAX];
static unsigned requests;
static bool declines;

static json_t *take_map(void *context, char *const *arguments, size_t count, struct error *error)
{
	(void)context;
	requests++;
	if (declines) {
		error_set(error, -EINVAL, "not now");
		return NULL;
	}
	cr_assert_eq(count, 1);
	(void)snprintf(got, sizeof got, "%s", arguments[0]);
	return json_object();
}

static json_t *take_part(void *context, char *const *arguments, size_t count, struct error *error)
{
	(void)context, (void)error;
	requests++;
	cr_assert_eq(count, 3);
	char *end;
	unsigned long part = strtoul(arguments[1], &end, 10), parts = strtoul(end + 1, NULL, 10);
	cr_assert_eq(part, requests);
	cr_assert_leq(part, parts);
	if (part == 1)
		got[0] = '\0';
	size_t length = strlen(got);
	(void)snprintf(got + length, sizeof got - length, "%s%s", part > 1 ? "," : "", arguments[2]);
	return json_object();
}

static const struct control_command commands[] = {{"cluster-map", "", take_map}, {"cluster-map-part", "", take_part}};

static void begin(void)
{
	struct error error = {0};
	cr_assert_not_null(mkdtemp(directory));
	(void)snprintf(path, sizeof path, "%s/gateway.sock", directory);
	cr_assert_eq(control_listener_open(&listener, path, &error), 0, "%s", error.text);
	const struct control_params params = {
		.listener = &listener, .commands = commands, .command_count = 2, .clock = &clock_system};
	control = control_new(&params, &error);
	cr_assert_not_null(control, "%s", error.text);
	(void)snprintf(settings.node, sizeof settings.node, "gw1");
	(void)snprintf(settings.inside, sizeof settings.inside, "10.9.0.1:5556");
	agent.settings = &settings;
	agent.clock = &clock_system;
	agent.gateway_known = true;
	agent.read_revision = 1;
	agent.map_link = gateway_link_new(path, &clock_system, &error);
	ownership_init(&agent.rule, "gw1", "u1", "m", OWNERSHIP_BLOCKS - 1, 0, 1);
}

static void end(void)
{
	gateway_link_free(agent.map_link);
	free(agent.map_sent);
	control_free(control);
	control_listener_close(&listener);
	rmdir(directory);
}

static void add_node(const char *name, const char *inside)
{
	struct ownership_node_key *node = &agent.view.nodes[agent.view.node_count++];
	(void)snprintf(node->name, sizeof node->name, "%s", name);
	(void)snprintf(node->uuid, sizeof node->uuid, "u");
	(void)snprintf(node->inside, sizeof node->inside, "%s", inside);
	agent.read_revision++;
}

static void own(unsigned block, const char *name)
{
	struct ownership_block_key *key = &agent.view.blocks[block];
	key->kind = OWNERSHIP_OWNED;
	(void)snprintf(key->node, sizeof key->node, "%s", name);
	(void)snprintf(key->uuid, sizeof key->uuid, "u");
	agent.read_revision++;
}

/* Until nothing is on its way. */
static void run(void)
{
	for (int i = 0; i < ROUNDS; i++) {
		struct pollfd polled;
		agent_map_step(&agent);
		if (gateway_link_poll(agent.map_link, &polled))
			poll(&polled, 1, 5);
		control_poll(control);
		gateway_link_run(agent.map_link);
	}
	cr_assert_not(gateway_link_busy(agent.map_link));
}

Test(agent_map, a_map_is_sent_once_and_again_when_it_changes)
{
	begin();
	run();
	cr_assert_str_eq(got, "-");
	add_node("gw2", "10.9.0.2:5556");
	own(3, "gw2");
	run();
	cr_assert_str_eq(got, "3=10.9.0.2:5556");
	cr_assert_eq(requests, 2);
	agent.map_again = true; /* the gateway has started anew */
	run();
	cr_assert_eq(requests, 3);
	end();
}

Test(agent_map, no_entry_leads_to_oneself_or_is_no_address)
{
	begin();
	add_node("gw1", "10.9.0.9:5556");
	add_node("gw2", "10.9.0.1:5556"); /* ours, by mistake */
	add_node("gw3", "10.9.0.3:5556\nkick all");
	add_node("gw4", "[fd00::4]:5556");
	add_node("gw6", "10.9.0.1:5556, [fd00::6]:5556"); /* one of them is ours */
	own(1, "gw1");
	own(2, "gw2");
	own(3, "gw3");
	own(4, "gw4");
	own(5, "gone");
	own(6, "gw6");
	run();
	cr_assert_str_eq(got, "4=[fd00::4]:5556,6=[fd00::6]:5556");
	end();
}

Test(agent_map, an_address_is_ours_however_it_is_written)
{
	begin();
	(void)snprintf(settings.inside, sizeof settings.inside, "10.9.0.1:5556, [fd09::1]:5556");
	add_node("gw2", "10.9.0.1:5557"); /* another port */
	add_node("gw3", "[FD09:0::1]:5556, 10.9.0.3:5556");
	add_node("gw4", "fd09::1");
	add_node("gw5", "10.9.0.999:5556, fd00::5");
	add_node("gw6", "10.9.0.6:5556, 10.9.0.66:5556");
	for (unsigned block = 2; block <= 6; block++) {
		char name[8];
		(void)snprintf(name, sizeof name, "gw%u", block);
		own(block, name);
	}
	run();
	cr_assert_str_eq(got, "3=10.9.0.3:5556,5=fd00::5,6=10.9.0.6:5556");
	end();
}

/* How many warnings about a wrong Inside there are since the last call, and about whose: "gw2 gw3 ". */
static const char *warned(FILE *log)
{
	static char names[256];
	char line[1024];
	size_t length = 0;
	names[0] = '\0';
	clearerr(log);
	while (fgets(line, sizeof line, log) != NULL) {
		char name[OWNERSHIP_NAME];
		const char *node = strstr(line, " of node ");
		if (node != NULL && sscanf(node, " of node %32s", name) == 1)
			length += (size_t)snprintf(names + length, sizeof names - length, "%s ", name);
	}
	return names;
}

Test(agent_map, each_node_with_a_wrong_address_is_named_once)
{
	char name[] = "/tmp/shardtun-map-log-XXXXXX";
	int written = mkstemp(name);
	FILE *log = fopen(name, "r");
	cr_assert(written >= 0 && log != NULL && dup2(written, STDERR_FILENO) == STDERR_FILENO);
	unlink(name);
	begin();
	add_node("gw2", "10.9.0.1:5556"); /* ours */
	add_node("gw3", "10.9.0.3:5556");
	own(2, "gw2");
	own(3, "gw3");
	run();
	cr_assert_str_eq(warned(log), "gw2 ");
	add_node("gw4", "10.9.0.999:5556");
	add_node("gw5", "10.9.0.1:5556"); /* as gw2 */
	own(4, "gw4");
	own(5, "gw5");
	own(6, "gw2");
	run();
	cr_assert_str_eq(warned(log), "gw4 gw5 ");
	(void)snprintf(agent.view.nodes[0].inside, OWNERSHIP_ADDRESS, "10.9.0.2:5556");
	agent.read_revision++;
	run();
	cr_assert_str_eq(warned(log), "");
	(void)snprintf(agent.view.nodes[0].inside, OWNERSHIP_ADDRESS, "10.9.0.1:5556");
	agent.read_revision++;
	run();
	cr_assert_str_eq(warned(log), "gw2 ", "it is wrong again");
	end();
	(void)fclose(log);
	close(written);
}

static void lose(unsigned block, enum ownership_key_kind kind)
{
	agent.view.blocks[block].kind = kind;
	agent.read_revision++;
}

Test(agent_map, a_block_between_owners_is_its_last_ones_until_another_takes_it)
{
	begin();
	add_node("gw2", "10.9.0.2:5556");
	for (unsigned block = 3; block <= 6; block++) {
		own(block, "gw2");
		agent.view.blocks[block].taken_revision = 40 + block;
	}
	run();
	agent.view.node_count = 0; /* its keys went with its lease */
	lose(3, OWNERSHIP_ABSENT);
	lose(4, OWNERSHIP_CLEAN);
	lose(5, OWNERSHIP_UNREADABLE);
	lose(6, OWNERSHIP_ABSENT);
	agent.view.blocks[6].taken_revision = 99; /* another one took it, and lost it, unseen */
	run();
	cr_assert_str_eq(got, "3=10.9.0.2:5556");
	own(3, "gw1");
	run();
	cr_assert_str_eq(got, "-");
	lose(3, OWNERSHIP_ABSENT);
	run();
	cr_assert_str_eq(got, "-", "the last owner was this node");
	end();
}

Test(agent_map, a_node_may_have_an_address_of_each_family)
{
	begin();
	add_node("gw2", "10.9.0.2:5556, [fd00::2]:5556");
	add_node("gw3", "10.9.0.3:5556,[fd00::3]:5556");
	own(7, "gw2");
	own(8, "gw3");
	run();
	cr_assert_str_eq(got, "7=10.9.0.2:5556,7=[fd00::2]:5556,8=10.9.0.3:5556,8=[fd00::3]:5556");
	end();
}

Test(agent_map, a_long_map_goes_in_parts)
{
	char expected[MAP_MAX] = "";
	size_t length = 0;
	begin();
	add_node("gw2", "[fd00:1234:5678:9abc:def0:1234:5678:9abc]:55556");
	for (unsigned block = 1; block < OWNERSHIP_BLOCKS; block++) {
		own(block, "gw2");
		length += (size_t)snprintf(expected + length, sizeof expected - length, "%s%u=%s", block > 1 ? "," : "",
					   block, agent.view.nodes[0].inside);
	}
	run();
	cr_assert_gt(requests, 2);
	cr_assert_str_eq(got, expected);
	cr_assert_eq(agent.map_parts, 0);
	end();
}

Test(agent_map, a_map_that_is_declined_waits_before_it_is_sent_again)
{
	begin();
	declines = true;
	run();
	cr_assert_lt(requests, 10, "%u requests", requests);
	declines = false;
	agent.map_not_before = 0;
	run();
	cr_assert_str_eq(got, "-");
	end();
}
