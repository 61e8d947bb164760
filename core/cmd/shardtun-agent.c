// SPDX-License-Identifier: Apache-2.0
/* The agent of a gateway in a cluster: etcd on one side, the gateway's control socket on the other. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "core/agent/agent.h"
#include "core/cli/agent_command.h"
#include "core/cli/cli.h"
#include "core/daemon/logger.h"
#include "core/host/process.h"

static const char *const synopses[] = {"[-c FILE]",
				       "[-c FILE] --check",
				       "[-c FILE] peer add KEY [--name NAME] [--wireguard] [--allowed-ips NETWORK,...]",
				       "[-c FILE] peer del KEY",
				       "[-c FILE] import [--dry-run] FILE...",
				       NULL};
static const struct cli_program program = {
	.name = "shardtun-agent",
	.summary = "keeps a shardtun gateway's blocks and peers as etcd has them",
	.synopses = synopses,
	.details = "  -c, --config FILE  the configuration (default: " AGENT_SETTINGS_PATH ")\n"
		   "      --check        check it; change nothing\n"
		   "      --name NAME    peer add: its name in lists and logs\n"
		   "      --wireguard    peer add: it speaks WireGuard\n"
		   "      --allowed-ips NETWORK,...\n"
		   "                     peer add: networks behind the peer\n"
		   "      --dry-run      import: say what would be done, and change nothing\n"
		   "  -h, --help         this text\n"
		   "  -V, --version      the version\n"
		   "\n"
		   "peer add, peer del and import change etcd, for all gateways, and need no agent that runs; import "
		   "takes the\n"
		   "peers of a gateway's configuration. shardtunctl peer add can do more. Else it runs in the "
		   "foreground until\n"
		   "SIGTERM, SIGINT or SIGQUIT. What the gateway owns stays its own while the agent restarts, for two "
		   "seconds.\n",
};

/* What the command line says. */
struct arguments {
	const char *path;
	bool check;
	struct agent_options options;
};

static enum cli_status run(const struct arguments *arguments)
{
	struct error error = {0};
	struct agent_settings settings;
	enum cli_status status = agent_read_settings(&program, arguments->path, &settings);
	if (status != CLI_OK)
		return status;
	if (arguments->check) {
		const struct etcd_params params = agent_settings_etcd(&settings, &clock_system);
		int result = etcd_check_files(&params, &error);
		agent_settings_free(&settings);
		if (result != 0)
			return cli_fail(&program, CLI_CONFIG, &error);
		printf("%s: right\n", arguments->path);
		return CLI_OK;
	}
	sigset_t ending;
	sigemptyset(&ending);
	sigaddset(&ending, SIGTERM);
	sigaddset(&ending, SIGINT);
	sigaddset(&ending, SIGQUIT);
	int stop = signalfd(-1, &ending, SFD_CLOEXEC | SFD_NONBLOCK);
	struct agent *agent = NULL;
	if (stop < 0)
		error_set(&error, -errno, "signals: %s", strerror(errno));
	else if (logger_start(NULL, &error) == 0)
		agent = agent_new(&settings, &clock_system, &error);
	if (agent == NULL || agent_run(agent, stop, &error) != 0)
		status = cli_fail(&program, CLI_FAILED, &error);
	agent_free(agent);
	if (stop >= 0)
		close(stop);
	agent_settings_free(&settings);
	return status;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"config", required_argument, NULL, 'c'},
						{"check", no_argument, NULL, 'k'},
						{"name", required_argument, NULL, 'n'},
						{"wireguard", no_argument, NULL, 'w'},
						{"dry-run", no_argument, NULL, 'd'},
						{"allowed-ips", required_argument, NULL, 'a'},
						{NULL, 0, NULL, 0}};
	static const char default_protocol[] = "shardtun";
	struct arguments arguments = {.path = AGENT_SETTINGS_PATH, .options.protocol = default_protocol};
	enum cli_status status;
	int option;
	process_begin();
	process_hold_signals();
	if (cli_help_or_version(&program, argc, argv, &status))
		return (int)status;
	opterr = 0;
	while ((option = getopt_long(argc, argv, ":c:", options, NULL)) != -1) {
		if (option == 'c')
			arguments.path = optarg;
		else if (option == 'k')
			arguments.check = true;
		else if (option == 'n')
			arguments.options.name = optarg;
		else if (option == 'w')
			arguments.options.protocol = "wireguard";
		else if (option == 'd')
			arguments.options.dry_run = true;
		else if (option == 'a')
			arguments.options.allowed_ips = optarg;
		else if (option == ':')
			return (int)cli_usage_error(&program, "%s wants a value", argv[optind - 1]);
		else
			return (int)cli_usage_error(&program, "unknown option %s", argv[optind - 1]);
	}
	const struct agent_options *given = &arguments.options;
	bool command = optind < argc, described = given->name != NULL || given->allowed_ips != NULL || given->dry_run ||
						  given->protocol != default_protocol;
	if (command && arguments.check)
		return (int)cli_usage_error(&program, "--check changes nothing, so it takes no command");
	if (!command && described)
		return (int)cli_usage_error(&program, "options of a command go with peer add or import");
	if (command)
		return (int)cli_finish(&program,
				       agent_command(&program, arguments.path, given, argv + optind, argc - optind));
	if (arguments.check)
		return (int)cli_finish(&program, run(&arguments));
	log_begin();
	status = cli_finish(&program, run(&arguments));
	logger_end();
	return (int)status;
}
