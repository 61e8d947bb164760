// SPDX-License-Identifier: Apache-2.0
/* The load generator. */
#include <signal.h>
#include <stdio.h>

#include "core/cli/cli.h"
#include "core/host/process.h"
#include "perf/stgun/options.h"
#include "perf/stgun/reflect.h"
#include "perf/stgun/run.h"

static const char *const synopses[] = {"keys N [OPTION...] >> gateway.conf",
				       "reflect [OPTION...]",
				       "connect --gateway IP:PORT --gateway-key KEY [OPTION...]",
				       "load --gateway IP:PORT --gateway-key KEY [OPTION...]",
				       "search --gateway IP:PORT --gateway-key KEY --rate RATE [OPTION...]",
				       NULL};

static const struct cli_program program = {
	.name = "stgun",
	.summary = "load generator for shardtun gateways",
	.synopses = synopses,
	.details = "  keys N      print the [Peer] sections of N clients for a gateway\n"
		   "  reflect     inside the tunnel: count and answer the packets of the other commands\n"
		   "  connect     connect all sessions and report how fast that was\n"
		   "  load        connect, then send at one rate\n"
		   "  search      connect, then find the highest rate within a bound of loss\n",
	.print_options = stgun_options_print,
};

static volatile sig_atomic_t ended;

static void end(int signal)
{
	(void)signal;
	ended = 1;
}

/* A second signal kills. */
static void catch_signals(void)
{
	struct sigaction action = {.sa_handler = end, .sa_flags = (int)SA_RESETHAND};
	(void)sigaction(SIGINT, &action, NULL);
	(void)sigaction(SIGTERM, &action, NULL);
}

int main(int argc, char **argv)
{
	enum cli_status status;
	struct error error = {0};
	struct stgun_options options;
	process_begin();
	if (cli_help_or_version(&program, argc, argv, &status))
		return (int)status;
	if (keys_init(&error) != 0)
		return (int)cli_fail(&program, CLI_FAILED, &error);
	if (stgun_options_read(argc, argv, &options, &error) != 0)
		return (int)cli_usage_error(&program, "%s", error.text);
	if (stgun_options_read_key(&options, &error) != 0)
		return (int)cli_fail(&program, CLI_CONFIG, &error);

	int result = 0;
	catch_signals();
	if (options.command == STGUN_KEYS)
		seed_print_peers(stdout, &options.seed, options.first, options.sessions, options.psk_file,
				 options.wireguard ? &options.address : NULL);
	else if (options.command == STGUN_REFLECT)
		result = reflect_run(&options, &ended, &error);
	else
		result = stgun_run(&options, argc, argv, &ended, &error);
	status = result == 0 ? CLI_OK : cli_fail(&program, CLI_FAILED, &error);
	return (int)cli_finish(&program, status);
}
