// SPDX-License-Identifier: Apache-2.0
/* The agent of a gateway in a cluster: etcd on one side, the gateway's control socket on the other. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "core/agent/agent.h"
#include "core/cli/cli.h"
#include "core/daemon/logger.h"
#include "core/host/privileges.h"
#include "core/host/process.h"
#include "crypto/keys.h"

static const char *const synopses[] = {"[-c FILE]", "[-c FILE] --check", NULL};
static const struct cli_program program = {
	.name = "shardtun-agent",
	.summary = "keeps a shardtun gateway's blocks and peers as etcd has them",
	.synopses = synopses,
	.details =
		"  -c, --config FILE  the configuration (default: " AGENT_SETTINGS_PATH ")\n"
		"      --check        check it; change nothing\n"
		"  -h, --help         this text\n"
		"  -V, --version      the version\n"
		"\n"
		"Runs in the foreground until SIGTERM, SIGINT or SIGQUIT. What the gateway owns stays its own while\n"
		"the agent restarts, for two seconds.\n",
};

static enum cli_status run(const char *path, bool check)
{
	struct error error = {0};
	struct agent_settings settings;
	privileges_keep_memory(); /* before the password is read */
	if (keys_init(&error) != 0)
		return cli_fail(&program, CLI_FAILED, &error);
	if (agent_settings_read(&settings, path, &error) != 0)
		return cli_fail(&program, CLI_CONFIG, &error);
	log_set_level(settings.log_level);
	if (check) {
		printf("%s: right\n", path);
		return CLI_OK;
	}
	sigset_t ending;
	sigemptyset(&ending);
	sigaddset(&ending, SIGTERM);
	sigaddset(&ending, SIGINT);
	sigaddset(&ending, SIGQUIT);
	int stop = signalfd(-1, &ending, SFD_CLOEXEC | SFD_NONBLOCK);
	struct agent *agent = NULL;
	enum cli_status status = CLI_OK;
	if (stop < 0)
		error_set(&error, -errno, "signals: %s", strerror(errno));
	else if (logger_start(NULL, &error) == 0)
		agent = agent_new(&settings, &clock_system, &error);
	if (agent == NULL || agent_run(agent, stop, &error) != 0)
		status = cli_fail(&program, CLI_FAILED, &error);
	agent_free(agent);
	if (stop >= 0)
		close(stop);
	explicit_bzero(&settings, sizeof settings);
	return status;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"config", required_argument, NULL, 'c'}, {"check", no_argument, NULL, 'k'}, {NULL, 0, NULL, 0}};
	enum cli_status status;
	process_begin();
	process_hold_signals();
	if (cli_help_or_version(&program, argc, argv, &status))
		return (int)status;

	const char *path = AGENT_SETTINGS_PATH;
	bool check = false;
	int option;
	opterr = 0;
	while ((option = getopt_long(argc, argv, ":c:", options, NULL)) != -1) {
		if (option == 'c')
			path = optarg;
		else if (option == 'k')
			check = true;
		else if (option == ':')
			return (int)cli_usage_error(&program, "%s wants a file", argv[optind - 1]);
		else
			return (int)cli_usage_error(&program, "unknown option %s", argv[optind - 1]);
	}
	if (optind < argc)
		return (int)cli_usage_error(&program, "unexpected argument %s", argv[optind]);
	if (check)
		return (int)cli_finish(&program, run(path, check));
	log_begin();
	status = cli_finish(&program, run(path, check));
	logger_end();
	return (int)status;
}
